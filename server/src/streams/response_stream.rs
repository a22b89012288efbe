//! A stream that counts as open until it is dropped.

use docxy_protocol::fault::Fault;
use docxy_transport::{SendError, SendStream};
use std::ops::{Deref, DerefMut};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The server's half of a stream. Dropped before its end, it is reset.
#[derive(Debug)]
pub(crate) struct ResponseStream {
    stream: SendStream,
    _open: TaskTrackerToken,
}

impl ResponseStream {
    pub(crate) fn new(stream: SendStream, open: TaskTrackerToken) -> Self {
        Self { stream, _open: open }
    }

    /// Ends the stream after all bytes were sent.
    pub(crate) fn finish(self) -> Result<(), SendError> {
        self.stream.finish()
    }

    /// Resets the stream with the fault's code.
    pub(crate) fn reset(self, fault: &Fault) {
        self.stream.reset(fault);
    }
}

impl Deref for ResponseStream {
    type Target = SendStream;

    fn deref(&self) -> &SendStream {
        &self.stream
    }
}

impl DerefMut for ResponseStream {
    fn deref_mut(&mut self) -> &mut SendStream {
        &mut self.stream
    }
}
