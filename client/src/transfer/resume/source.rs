//! Where the rest of a body comes from: what is needed to request parts of it.
//!
//! Must never decide when a part is requested, or again: the body that it belongs to does.

use crate::exchange::ExchangeError;
use crate::transfer::TransferContext;
use crate::transfer::part::Content;
use crate::transfer::range_request::{Continuation, RangeRequest};
use crate::tunnel::{LostSession, Session};
use std::ops::Range;
use tokio_util::task::AbortOnDropHandle;

/// Requests parts of a body.
pub(in crate::transfer) struct Source {
    pub(in crate::transfer) context: TransferContext,
    pub(in crate::transfer) range_request: RangeRequest,
    /// The session in use.
    pub(in crate::transfer) session: Option<Session>,
    /// The last session that was lost.
    pub(super) lost: Option<LostSession>,
    /// Whether there was a response.
    pub(super) has_responded: bool,
    /// The position from which the running client was last asked.
    pub(super) asked_at: Option<u64>,
}

impl Source {
    pub(in crate::transfer) fn new(
        context: &TransferContext,
        range_request: RangeRequest,
        session: Option<Session>,
    ) -> Box<Self> {
        let has_responded = session.is_some();
        let context = context.clone();
        Box::new(Self { context, range_request, session, lost: None, has_responded, asked_at: None })
    }

    /// The same for an engine that has its response.
    pub(in crate::transfer) fn after_response(self: Box<Self>) -> Box<Self> {
        Box::new(Self { has_responded: true, ..*self })
    }

    /// Fetches these bytes over this session. `None` without a permit.
    pub(in crate::transfer) fn fetch(
        &self,
        session: &Session,
        bytes: Range<u64>,
    ) -> Option<impl Future<Output = Result<Continuation, ExchangeError>> + Send + use<>> {
        let permit = session.try_permit(&self.range_request.request.operation)?;
        let (context, range_request) = (self.context.clone(), self.range_request.clone());
        let session = session.clone();
        Some(async move { context.fetch(&session, Some(permit), &range_request, &bytes).await })
    }

    /// The same in the background: the bytes are read as they arrive.
    pub(in crate::transfer) fn request(&self, session: &Session, bytes: Range<u64>) -> Option<Content> {
        let fetch = self.fetch(session, bytes)?;
        Some(Content::Requested(AbortOnDropHandle::new(tokio::spawn(fetch))))
    }
}
