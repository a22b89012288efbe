//! The halves of a stream. They have the methods of quinn's.

use super::End;
use super::link::Half;
use crate::error::{ReadError, SendError};
use bytes::{Buf as _, Bytes};
use docxy_protocol::fault::Fault;
use quinn::VarInt;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// The sending half.
#[derive(Debug)]
pub(crate) struct Sender {
    end: End,
    stream: usize,
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Receiver {
    end: End,
    stream: usize,
}

impl Sender {
    pub(super) const fn new(end: End, stream: usize) -> Self {
        Self { end, stream }
    }

    pub(crate) async fn write_chunk(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        let (side, to) = (self.end.0.side, 1 - self.end.0.side);
        poll_fn(|cx| {
            self.end.0.link.poll(cx, |state| {
                if let Some(error) = state.error(side) {
                    return Some(Err(error.into()));
                }
                if state.streams[self.stream][to].stopped {
                    return Some(Err(SendError::Stopped));
                }
                state.deliver(self.stream, to, &mut bytes);
                // The last bytes that the test lets through end the leg.
                if bytes.is_empty() { Some(Ok(())) } else { state.error(side).map(|error| Err(error.into())) }
            })
        })
        .await
    }

    pub(crate) fn finish(&mut self) -> Result<(), SendError> {
        self.change(|half| half.finished = true);
        Ok(())
    }

    /// Discards what was not read yet.
    pub(crate) fn reset(&mut self, code: VarInt) -> Result<(), SendError> {
        self.change(|half| {
            half.arrived.clear();
            half.unread = 0;
            half.reset = Some(code);
        });
        Ok(())
    }

    /// All that is sent arrives at once.
    pub(crate) fn set_priority(&self, _: i32) -> Result<(), SendError> {
        Ok(())
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = Result<Option<()>, ()>> + Send + 'static {
        // It must not keep the session alive.
        let (link, side, stream) = (self.end.0.link.clone(), self.end.0.side, self.stream);
        poll_fn(move |cx| {
            link.poll(cx, |state| {
                let half = &state.streams[stream][1 - side];
                if half.stopped {
                    Some(Ok(Some(())))
                } else if half.finished || half.reset.is_some() {
                    // All that is sent arrives at once.
                    Some(Ok(None))
                } else {
                    state.error(side).map(|_| Err(()))
                }
            })
        })
    }

    /// Changes the half, unless the leg has ended: then nothing crosses it any more.
    fn change(&self, change: impl FnOnce(&mut Half)) {
        let side = self.end.0.side;
        self.end.0.link.change(|state| {
            if state.error(side).is_none() {
                change(&mut state.streams[self.stream][1 - side]);
            }
        });
    }
}

impl Receiver {
    pub(super) const fn new(end: End, stream: usize) -> Self {
        Self { end, stream }
    }

    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let mut buffer = ReadBuf::new(buffer);
        poll_fn(|cx| self.poll_read_buf(cx, &mut buffer)).await?;
        let count = buffer.filled().len();
        Ok((count > 0).then_some(count))
    }

    pub(crate) async fn read_chunk(&self, length_max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_chunk(cx, length_max)).await
    }

    pub(crate) fn poll_read_buf(
        &mut self,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), ReadError>> {
        if let Some(bytes) = ready!(self.poll_chunk(cx, buffer.remaining()))? {
            buffer.put_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_chunk(&self, cx: &Context<'_>, length_max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        let side = self.end.0.side;
        self.end.0.link.poll(cx, |state| {
            let half = &mut state.streams[self.stream][side];
            if let Some(code) = half.reset {
                return Some(Err(ReadError::Reset(Fault::from_reset_code(code.into_inner()))));
            }
            if let Some(first) = half.arrived.front_mut() {
                let bytes = first.split_to(first.len().min(length_max));
                if !first.has_remaining() {
                    half.arrived.pop_front();
                }
                half.unread -= bytes.len();
                return Some(Ok(Some(bytes)));
            }
            if half.finished {
                return Some(Ok(None));
            }
            state.error(side).map(|error| Err(error.into()))
        })
    }
}

/// The peer is told to stop.
impl Drop for Receiver {
    fn drop(&mut self) {
        let side = self.end.0.side;
        self.end.0.link.change(|state| {
            let half = &mut state.streams[self.stream][side];
            // A stream whose end has arrived cannot be stopped.
            half.stopped |= !half.finished;
            half.arrived.clear();
            half.unread = 0;
        });
    }
}
