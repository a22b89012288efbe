//! The sending half of a stream after its end. Dropped before the peer has everything, it is reset.

use crate::send_stream::{Leg, SendStream};
use docxy_protocol::fault::Hop;
use std::future::Future;

/// The sending half of a stream to which nothing is added. Some of it may not have left this side yet, and can
/// still be withdrawn.
#[derive(Debug)]
pub struct FinishedStream(SendStream);

impl FinishedStream {
    pub(crate) const fn new(leg: Leg, hop: Hop) -> Self {
        Self(SendStream::new(leg, hop))
    }

    /// Whether the peer has received everything. Waits until that is known; `false` if the peer has stopped this
    /// stream, or the session has ended.
    pub fn delivered(&self) -> impl Future<Output = bool> + Send + 'static {
        let stopped = self.0.stopped_or_delivered();
        async move { !stopped.await }
    }
}
