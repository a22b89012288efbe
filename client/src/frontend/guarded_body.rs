//! A response body that keeps its connection open until it is sent.

use super::connection_slots::BusyGuard;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of a response, unchanged.
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    body: B,
    _serving: BusyGuard,
}

impl<B> GuardedBody<B> {
    pub(super) const fn new(body: B, busy: BusyGuard) -> Self {
        Self { body, _serving: busy }
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
