//! What one stream has to send, and how it passes that to h2.
//!
//! Must never send the end of a stream that its sender did not end.

use super::super::settings::FRAME_BYTES;
use crate::streams::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

/// Chunks below this size are sent in one frame with what follows: a frame for each would cost more than a copy.
const SMALL_CHUNK_BYTES: usize = 4 * 1024;

/// How a stream ended for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    /// Not yet.
    Open,
    /// The kernel has taken everything.
    Delivered,
    /// The peer has reset it.
    Stopped,
    /// The connection or the session has ended.
    Lost,
}

/// Where h2 takes a stream's bytes.
pub(in super::super) enum Wire {
    /// A response whose head is sent with its first byte.
    Response(Box<SendResponse<Bytes>>, Response<()>),
    /// A body.
    Body(SendStream<Bytes>),
}

/// One stream of an [`Outbox`](super::Outbox).
pub(super) struct Entry {
    pub(super) wire: Wire,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    pub(super) end: End,
    pub(super) urgency: i32,
    /// The body that it carries part of: its own, or one of several streams.
    pub(super) body: Body,
    /// Its turn among the streams of that body.
    pub(super) turn: i32,
    pub(super) sender: Option<Waker>,
    pub(super) outcome: watch::Sender<Outcome>,
    pub(super) waker: Waker,
}

/// The end of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More may follow.
    Unknown,
    /// It follows what is queued.
    Queued,
    /// h2 has it.
    Passed,
}

/// What became of a stream's turn.
pub(super) enum Turn {
    /// h2 has all of it.
    Finished,
    /// Nothing more to send now.
    Idle,
    /// The batch is full.
    Full,
    /// The stream has ended at the peer.
    Failed,
}

impl Entry {
    /// Its place among the streams that have something to send: the most urgent first, then those of the body that has
    /// waited longest.
    pub(super) fn place(&self) -> (i32, u64, i32) {
        (self.urgency, self.body.last_batch.load(Ordering::Relaxed), self.turn)
    }

    /// Sends the head of a response that has none.
    pub(super) fn respond(&mut self) -> Result<(), h2::Error> {
        if let Wire::Response(respond, head) = &mut self.wire {
            let body = respond.send_response(std::mem::take(head), false)?;
            self.wire = Wire::Body(body);
        }
        Ok(())
    }

    /// Whether the peer has reset the stream; wakes the driver if it does later.
    pub(super) fn poll_reset(&mut self) -> Option<Result<Reason, h2::Error>> {
        let mut cx = Context::from_waker(&self.waker);
        let reset = match &mut self.wire {
            Wire::Response(respond, _) => respond.poll_reset(&mut cx),
            Wire::Body(body) => body.poll_reset(&mut cx),
        };
        match reset {
            Poll::Ready(reset) => Some(reset),
            Poll::Pending => None,
        }
    }

    pub(super) fn pass(&mut self, room: &mut usize) -> Turn {
        if self.respond().is_err() {
            return Turn::Failed;
        }
        loop {
            let (queued, is_finished) = (self.queued, self.end == End::Queued);
            let Wire::Body(body) = &mut self.wire else { return Turn::Failed };
            if queued == 0 {
                if !is_finished {
                    return Turn::Idle;
                }
                self.end = End::Passed;
                return body.send_data(Bytes::new(), true).map_or(Turn::Failed, |()| Turn::Finished);
            }
            if *room == 0 {
                return Turn::Full;
            }
            body.reserve_capacity(queued.min(*room));
            let mut capacity = body.capacity();
            if capacity == 0 {
                match body.poll_capacity(&mut Context::from_waker(&self.waker)) {
                    // The peer does not read this stream. It wakes the driver when it does.
                    Poll::Pending => return Turn::Idle,
                    Poll::Ready(Some(Ok(count))) => capacity = count,
                    Poll::Ready(Some(Err(_)) | None) => return Turn::Failed,
                }
            }
            let count = capacity.min(*room).min(queued).min(FRAME_BYTES);
            let chunk = self.take(count);
            *room -= chunk.len();
            let is_last = is_finished && self.queued == 0;
            let Wire::Body(body) = &mut self.wire else { return Turn::Failed };
            if body.send_data(chunk, is_last).is_err() {
                return Turn::Failed;
            }
            if is_last {
                self.end = End::Passed;
                return Turn::Finished;
            }
        }
    }

    /// The next bytes of the queue, at most `count`.
    fn take(&mut self, count: usize) -> Bytes {
        let Some(first) = self.queue.front_mut() else { return Bytes::new() };
        let taken = if first.len() >= count.min(SMALL_CHUNK_BYTES) {
            first.split_to(first.len().min(count))
        } else {
            let mut joined = BytesMut::with_capacity(count);
            while let Some(first) = self.queue.front_mut()
                && joined.len() < count
            {
                joined.put(first.split_to(first.len().min(count - joined.len())));
                if first.is_empty() {
                    self.queue.pop_front();
                }
            }
            joined.freeze()
        };
        if self.queue.front().is_some_and(Bytes::is_empty) {
            self.queue.pop_front();
        }
        self.queued -= taken.len();
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
        taken
    }

    /// Tells all that wait for the stream how it ended.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        self.queued = 0;
        self.outcome.send_replace(outcome);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}
