//! What both ends share: the streams, and how the leg ended.

use crate::error::SessionError;
use bytes::Bytes;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{REQUEST_STREAM_WINDOW, RESPONSE_STREAM_WINDOW};
use docxy_protocol::text::CleanText;
use quinn::VarInt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// For each stream, its half towards the client and its half towards the server.
    pub(super) streams: Vec<[Half; 2]>,
    /// The streams that wait at the client and at the server to be accepted.
    incoming: [VecDeque<usize>; 2],
    /// Bytes that each end has received.
    pub(super) received: [u64; 2],
    /// Bytes that the client may receive before the leg is lost.
    pub(super) client_may_receive: Option<u64>,
    ended: Option<Ended>,
    /// Whether bytes were delivered since the last wake-up.
    delivered: bool,
    /// All tasks that wait for any change.
    wakers: Vec<Waker>,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) arrived: VecDeque<Bytes>,
    pub(super) unread: usize,
    pub(super) finished: bool,
    pub(super) reset: Option<VarInt>,
    pub(super) stopped: bool,
}

/// How the leg ended.
#[derive(Debug)]
pub(super) enum Ended {
    Lost,
    Closed { side: usize, code: CloseCode, reason: CleanText },
}

/// The error of a leg that was cut.
#[derive(Debug, thiserror::Error)]
#[error("the leg was cut")]
struct Lost;

impl Link {
    /// Changes the state, and wakes all that wait.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// Looks for a result. If there is none, the task is woken at the next change.
    pub(super) fn poll<T>(&self, cx: &Context<'_>, look: impl FnOnce(&mut State) -> Option<T>) -> Poll<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = look(&mut state);
        let changed = std::mem::take(&mut state.delivered) || found.is_some();
        let wakers = if changed { std::mem::take(&mut state.wakers) } else { Vec::new() };
        if found.is_none() {
            state.wakers.push(cx.waker().clone());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        found.map_or(Poll::Pending, Poll::Ready)
    }
}

impl State {
    pub(super) fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// Why the leg has ended, as this side sees it.
    pub(super) fn error(&self, side: usize) -> Option<SessionError> {
        Some(match self.ended.as_ref()? {
            Ended::Lost => SessionError::Failed(Arc::new(Lost)),
            Ended::Closed { side: closer, .. } if *closer == side => SessionError::Closed,
            Ended::Closed { code, reason, .. } => {
                SessionError::ClosedByPeer { code: Some(*code), reason: reason.clone() }
            }
        })
    }

    pub(super) fn open(&mut self, side: usize) -> Result<usize, SessionError> {
        if let Some(error) = self.error(side) {
            return Err(error);
        }
        let stream = self.streams.len();
        self.streams.push(Default::default());
        self.incoming[1 - side].push_back(stream);
        Ok(stream)
    }

    pub(super) fn accept(&mut self, side: usize) -> Option<Result<usize, SessionError>> {
        match self.incoming[side].pop_front() {
            Some(stream) => Some(Ok(stream)),
            None => self.error(side).map(Err),
        }
    }

    /// Delivers as many of the bytes as the window allows.
    pub(super) fn deliver(&mut self, stream: usize, to: usize, bytes: &mut Bytes) {
        let window = if to == CLIENT { RESPONSE_STREAM_WINDOW } else { REQUEST_STREAM_WINDOW } as usize;
        let half = &mut self.streams[stream][to];
        let mut length = bytes.len().min(window - half.unread);
        if to == CLIENT
            && let Some(left) = &mut self.client_may_receive
        {
            length = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= length as u64;
            if *left == 0 {
                self.ended.get_or_insert(Ended::Lost);
            }
        }
        if length > 0 {
            half.arrived.push_back(bytes.split_to(length));
            half.unread += length;
            self.received[to] += length as u64;
            self.delivered = true;
        }
    }
}
