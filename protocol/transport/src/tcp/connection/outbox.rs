//! What one connection has to send, in order: the most urgent stream first, equal ones by turns, a batch each. The
//! streams of one body have their turns together. h2 gets a batch at a time, and the next when the kernel has taken that.
//!
//! Must never call a waker of h2's while it holds [`Woken`]'s lock: h2 wakes with its own lock held.

use super::outgoing::{End, Entry, Outcome, Turn, Wire};
use crate::streams::Body;
use bytes::Bytes;
use docxy_protocol::limits::{SEGMENT_BYTES, SEND_WINDOW};
use futures_util::task::AtomicWaker;
use h2::Reason;
use h2::server::SendResponse;
use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::watch;

/// The number of the control stream.
pub(in super::super) const CONTROL: u64 = 0;

/// Bytes of one stream that wait here, so that its source goes on while others are sent. Behind them are those in the
/// kernel.
const STREAM_BYTES_MAX: usize = SEGMENT_BYTES as usize / 2;

/// The urgency of large bodies: after all that has an urgency of its own.
const BODY_URGENCY: i32 = BACKGROUND_URGENCY - 1;

/// That of bodies in the background: after all others.
const BACKGROUND_URGENCY: i32 = PADDING_URGENCY - 1;

/// That of padding: after all else.
const PADDING_URGENCY: i32 = i32::MAX;

/// Bytes of padding that h2 has, at most: a response that comes now waits for them.
const PADDING_BATCH_BYTES: usize = 8 * 1024;

/// The batches of all connections so far: a body may go on over another connection, and has its place there by the number
/// of its last batch.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// The queue of one connection.
pub(in super::super) struct Outbox {
    state: Mutex<State>,
    woken: Arc<Woken>,
}

struct State {
    entries: BTreeMap<u64, Entry>,
    /// The streams that have something to send.
    ready: BTreeSet<u64>,
    /// The stream that has padding, or was the last to have it: no other was added since.
    padding: Option<u64>,
    /// Those of which h2 has the rest.
    leaving: Vec<u64>,
    next: u64,
    /// Bytes of all streams that wait here.
    held: u64,
    window: u64,
    /// The senders that wait for room in the window.
    waiting: Vec<Waker>,
    has_ended: bool,
}

/// The streams that h2 has woken, and the task that polls them.
#[derive(Default)]
struct Woken {
    streams: Mutex<Vec<u64>>,
    driver: AtomicWaker,
}

struct StreamWaker {
    stream: u64,
    woken: Arc<Woken>,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.woken.streams.lock().push(self.stream);
        self.woken.driver.wake();
    }
}

impl Outbox {
    pub(in super::super) fn new() -> Arc<Self> {
        let state = State {
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            padding: None,
            leaving: Vec::new(),
            next: 0,
            held: 0,
            window: SEND_WINDOW,
            waiting: Vec::new(),
            has_ended: false,
        };
        Arc::new(Self { state: Mutex::new(state), woken: Arc::default() })
    }

    /// Adds a stream, which ends the padding. Returns its number here, and how it will end.
    pub(in super::super) fn add(&self, wire: Wire) -> (u64, watch::Receiver<Outcome>) {
        let padding = self.state.lock().padding.take();
        padding.inspect(|padding| self.reset(*padding, Reason::CANCEL));
        let mut state = self.state.lock();
        state.next += 1;
        let stream = state.next;
        (stream, self.insert(state, stream, wire))
    }

    /// Adds the stream of the padding, which is sent while there is no other.
    pub(in super::super) fn add_padding(&self, wire: Wire) -> (u64, watch::Receiver<Outcome>) {
        let (stream, outcome) = self.add(wire);
        self.set_urgency(stream, PADDING_URGENCY);
        self.state.lock().padding = Some(stream);
        (stream, outcome)
    }

    /// Whether it sends nothing but padding.
    pub(in super::super) fn is_padding(&self) -> bool {
        self.state.lock().padding.is_some()
    }

    /// Whether it has no streams but the control stream.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.state.lock().entries.keys().all(|stream| *stream == CONTROL)
    }

    /// Adds the control stream, which stays to the end of the connection.
    pub(in super::super) fn add_control(&self, wire: Wire) -> watch::Receiver<Outcome> {
        self.insert(self.state.lock(), CONTROL, wire)
    }

    /// Whether the control stream was added.
    pub(in super::super) fn has_control(&self) -> bool {
        self.state.lock().entries.contains_key(&CONTROL)
    }

    fn insert(&self, mut state: MutexGuard<'_, State>, stream: u64, wire: Wire) -> watch::Receiver<Outcome> {
        let (outcome, receiver) = watch::channel(if state.has_ended { Outcome::Lost } else { Outcome::Open });
        let waker = Waker::from(Arc::new(StreamWaker { stream, woken: Arc::clone(&self.woken) }));
        let (queue, sender) = (VecDeque::new(), None);
        let entry = Entry {
            wire,
            queue,
            queued: 0,
            end: End::Unknown,
            urgency: 0,
            body: Body::default(),
            turn: 0,
            sender,
            outcome,
            waker,
        };
        state.entries.insert(stream, entry);
        drop(state);
        // The driver watches for its reset.
        self.woken.streams.lock().push(stream);
        self.woken.driver.wake();
        receiver
    }

    /// Queues as many of the bytes as there is room for. Ready when all are queued.
    pub(in super::super) fn poll_send(
        &self,
        stream: u64,
        bytes: &mut Bytes,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Outcome>> {
        let mut state = self.state.lock();
        let State { entries, ready, held, window, waiting, has_ended, .. } = &mut *state;
        let Some(entry) = entries.get_mut(&stream).filter(|_| !*has_ended) else {
            return Poll::Ready(Err(if *has_ended { Outcome::Lost } else { Outcome::Stopped }));
        };
        let outcome = *entry.outcome.borrow();
        if outcome != Outcome::Open {
            return Poll::Ready(Err(outcome));
        }
        let in_window = usize::try_from(window.saturating_sub(*held)).unwrap_or(usize::MAX);
        let room = in_window.min(STREAM_BYTES_MAX - entry.queued).min(bytes.len());
        if room > 0 {
            entry.queue.push_back(bytes.split_to(room));
            entry.queued += room;
            *held += room as u64;
            ready.insert(stream);
        }
        let poll = if bytes.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            entry.sender = Some(cx.waker().clone());
            if in_window == room {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        };
        drop(state);
        self.wake_driver();
        poll
    }

    /// Ends a stream after what is queued; `false` if the peer has stopped it.
    pub(in super::super) fn finish(&self, stream: u64) -> bool {
        let mut state = self.state.lock();
        let State { entries, ready, has_ended, .. } = &mut *state;
        let is_open = match entries.get_mut(&stream) {
            Some(entry) if !*has_ended && *entry.outcome.borrow() == Outcome::Open => {
                entry.end = End::Queued;
                ready.insert(stream);
                true
            }
            _ => *has_ended,
        };
        drop(state);
        self.wake_driver();
        is_open
    }

    /// Resets a stream whose end has not left. After the end of the connection nothing is sent any more.
    pub(in super::super) fn reset(&self, stream: u64, reason: Reason) {
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        if let Some(mut entry) = state.remove(stream) {
            match &mut entry.wire {
                Wire::Response(respond, _) => respond.send_reset(reason),
                Wire::Body(body) => body.send_reset(reason),
            }
        }
        drop(state);
        self.wake_driver();
    }

    pub(in super::super) fn set_urgency(&self, stream: u64, urgency: i32) {
        if let Some(entry) = self.state.lock().entries.get_mut(&stream) {
            entry.urgency = urgency;
        }
    }

    /// The stream is sent in the turns of this body, its lowest turn first.
    pub(in super::super) fn set_turn(&self, stream: u64, body: Body, turn: i32) {
        if let Some(entry) = self.state.lock().entries.get_mut(&stream) {
            entry.urgency = if body.is_in_background { BACKGROUND_URGENCY } else { BODY_URGENCY };
            (entry.body, entry.turn) = (body, turn);
        }
    }

    /// Bytes of all streams that may wait here.
    pub(in super::super) fn set_window(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.window = bytes;
        state.wake_waiting();
    }

    /// Ends all streams, and keeps them as they are: a reset would look like a statement of the peer about one.
    pub(in super::super) fn end(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        state.ready.clear();
        for entry in state.entries.values_mut() {
            entry.queue.clear();
            entry.ended(Outcome::Lost);
        }
        state.held = 0;
        state.wake_waiting();
        drop(state);
        self.wake_driver();
    }

    /// Ends this stream with trailers after what is queued on it.
    pub(in super::super) fn conclude(&self, stream: u64, trailers: HeaderMap) {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(&stream)
            && entry.respond().is_ok()
            && let Wire::Body(body) = &mut entry.wire
        {
            // What stays in the queue is not sent any more. An error means that the peer has reset the stream.
            let _ = entry.queue.drain(..).try_for_each(|bytes| body.send_data(bytes, false));
            let _ = body.send_trailers(trailers);
            state.held -= u64::try_from(std::mem::take(&mut entry.queued)).unwrap_or_default();
        }
        drop(state);
        self.wake_driver();
    }

    /// Takes the responses that were not begun, so that something else answers them. All streams count as lost.
    pub(in super::super) fn take_unanswered(&self) -> Vec<(u64, SendResponse<Bytes>)> {
        let mut state = self.state.lock();
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.end();
        let unanswered = |(stream, mut entry): (u64, Entry)| {
            entry.ended(Outcome::Lost);
            match entry.wire {
                Wire::Response(respond, _) => Some((stream, *respond)),
                Wire::Body(_) => None,
            }
        };
        entries.into_iter().filter_map(unanswered).collect()
    }

    /// Wakes the task that polls the connection.
    pub(in super::super) fn wake_driver(&self) {
        self.woken.driver.wake();
    }

    /// Looks at the streams that h2 has woken. Returns those that the peer has reset, with its reason.
    pub(in super::super) fn poll(&self, cx: &Context<'_>) -> Vec<(u64, Reason)> {
        self.woken.driver.register(cx.waker());
        let woken = std::mem::take(&mut *self.woken.streams.lock());
        let mut resets = Vec::new();
        if woken.is_empty() {
            return resets;
        }
        let mut state = self.state.lock();
        for stream in woken {
            let State { entries, ready, has_ended, .. } = &mut *state;
            let Some(entry) = entries.get_mut(&stream) else { continue };
            let reset = entry.poll_reset();
            if let Some(Ok(reason)) = &reset {
                resets.push((stream, *reason));
            }
            if reset.is_none() {
                if !*has_ended && (entry.queued > 0 || entry.end == End::Queued) {
                    ready.insert(stream);
                }
            } else if !*has_ended && let Some(mut entry) = state.remove(stream) {
                entry.ended(Outcome::Stopped);
            }
        }
        resets
    }

    /// Passes a batch of at most this many bytes to h2. Returns whether there was anything. Called when the kernel has taken the last one.
    pub(in super::super) fn pass_batch(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        for stream in std::mem::take(&mut state.leaving) {
            // The control stream stays, for what ends the session.
            if stream == CONTROL {
                continue;
            }
            if let Some(mut entry) = state.remove(stream) {
                entry.ended(Outcome::Delivered);
            }
        }
        let (mut room, mut has_passed) = (bytes, false);
        let mut batch = None;
        while let Some(stream) = state.next() {
            let State { entries, ready, padding, leaving, held, .. } = &mut *state;
            ready.remove(&stream);
            if *padding == Some(stream) {
                room = room.min(PADDING_BATCH_BYTES);
            }
            let Some(entry) = entries.get_mut(&stream) else { continue };
            let (before, queued) = (room, entry.queued);
            let turn = entry.pass(&mut room);
            *held -= (queued - entry.queued) as u64;
            has_passed |= room < before || matches!(turn, Turn::Finished);
            if room < before {
                let batch = *batch.get_or_insert_with(|| BATCHES.fetch_add(1, Ordering::Relaxed) + 1);
                entry.body.last_batch.store(batch, Ordering::Relaxed);
            }
            match turn {
                Turn::Full => {
                    ready.insert(stream);
                    break;
                }
                Turn::Idle => {}
                Turn::Finished => leaving.push(stream),
                Turn::Failed => {
                    if let Some(mut entry) = state.remove(stream) {
                        entry.ended(Outcome::Stopped);
                    }
                }
            }
        }
        if has_passed && state.held < state.window {
            state.wake_waiting();
        }
        has_passed
    }
}

impl State {
    /// The stream whose turn it is.
    fn next(&self) -> Option<u64> {
        let place = |stream: &u64| self.entries.get(stream).map(Entry::place);
        self.ready.iter().copied().min_by_key(place)
    }

    fn remove(&mut self, stream: u64) -> Option<Entry> {
        let entry = self.entries.remove(&stream)?;
        self.ready.remove(&stream);
        self.held -= entry.queued as u64;
        Some(entry)
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
