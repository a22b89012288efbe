//! Brings one range of a blob, as its readers need it: the next bytes go to them from memory, and to the disk.
//!
//! Must never wait for the disk.

use super::flights::Demand;
use super::shared_blob::SharedBlob;
use crate::exchange::{ExchangeError, Response};
use crate::transfer::TransferContext;
use crate::transfer::part::Part;
use crate::transfer::range_request::{Continuation, RangeRequest};
use crate::transfer::resume::{ResumableBody, Source};
use crate::transfer::running::{TransferGuard, TransferRegistry};
use crate::tunnel::Session;
use bytes::Bytes;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::Fault;
use docxy_protocol::request::Request;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;

/// A range that a reader has claimed. Its flight ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) flight: FlightGuard,
    pub(super) bytes: Range<u64>,
}

/// A flight, until this is dropped.
#[derive(Debug)]
pub(super) struct FlightGuard {
    blob: Arc<SharedBlob>,
    id: u64,
}

impl Claim {
    pub(super) const fn new(blob: Arc<SharedBlob>, id: u64, bytes: Range<u64>) -> Self {
        Self { flight: FlightGuard { blob, id }, bytes }
    }

    /// The bytes.
    pub(crate) const fn bytes(&self) -> &Range<u64> {
        &self.bytes
    }

    /// Receives them from this response to `range_request`.
    ///
    /// # Errors
    /// If the response has other bytes.
    pub(crate) fn begin_with(
        self,
        context: &TransferContext,
        range_request: RangeRequest,
        response: Response,
        session: Session,
    ) -> Result<(), ExchangeError> {
        let continuation = range_request.check(&self.bytes, response)?;
        self.begin(Source::new(context, range_request, Some(session)), Some(continuation));
        Ok(())
    }

    /// Receives them from a response with this range, if they are at its start. Else the response is dropped.
    pub(crate) fn begin_within(
        self,
        context: &TransferContext,
        request: &Request,
        range: &ContentRange,
        response: Response,
        session: Session,
    ) {
        let is_start = self.bytes.start == range.bytes().start;
        let continuation = is_start.then_some(Continuation { body: response.body, skip: 0 });
        let range_request = RangeRequest::blob(request.clone(), range.total());
        self.begin(Source::new(context, range_request, Some(session)), continuation);
    }

    /// Receives them by `source`: from the response that has begun, if there is one.
    pub(super) fn begin(self, source: Box<Source>, response: Option<Continuation>) {
        let Self { flight, bytes } = self;
        let part = match response {
            // It may have more, which is not requested then.
            Some(response) => {
                let end =
                    response.body.length().map_or(bytes.end, |length| bytes.start + length - response.skip);
                Part::arriving(&(bytes.start..end), response)
            }
            None => Part::missing(bytes.end),
        };
        tokio::spawn(flight.run(bytes.start, part, source));
    }
}

impl FlightGuard {
    /// A flight of bytes that come ahead of their readers. `None` if they are here, or another flight brings them.
    pub(super) fn ahead(blob: &Arc<SharedBlob>, bytes: Range<u64>) -> Option<Self> {
        if blob.stored.missing(bytes.clone()).is_empty() {
            return None;
        }
        let id = blob.flights.lock().claim_ahead(bytes)?;
        Some(Self { blob: Arc::clone(blob), id })
    }

    /// Brings the bytes from `start` to the end of this part, as its readers need them.
    pub(super) async fn run(self, start: u64, part: Part, source: Box<Source>) {
        let is_anonymous = !source.range_request.request.has_credential();
        // Its readers are listed, and show what it waits for.
        let transfers = TransferRegistry::default();
        let guard = Arc::new(transfers.begin(&source.range_request.request, None));
        source.session.as_ref().inspect(|session: &&Session| guard.set_server(session));
        let mut changes = transfers.watch();
        let mut body = ResumableBody::new(start, Some(part), Some(source), Arc::clone(&guard));
        while let Some(end) = self.demand().await {
            body.end_before(end);
            match self.next(&mut body, &mut changes, &guard).await {
                Some(Ok(Some(bytes))) => {
                    let at = body.position() - bytes.len() as u64;
                    if is_anonymous && at == start {
                        self.blob.set_public();
                    }
                    // The server may report an error at the very end.
                    if body.is_at_end()
                        && let Some(Err(error)) = self.next(&mut body, &mut changes, &guard).await
                    {
                        return self.failed(&error.to_fault());
                    }
                    self.arrived(at, bytes);
                }
                Some(Ok(None)) | None => break,
                Some(Err(error)) => return self.failed(&error.to_fault()),
            }
        }
        for (at, bytes) in body.into_arrived() {
            self.blob.stored.write(at, bytes);
        }
    }

    /// The next bytes. `None` if no reader needs them any more.
    async fn next(
        &self,
        body: &mut ResumableBody,
        changes: &mut watch::Receiver<u64>,
        guard: &TransferGuard,
    ) -> Option<Result<Option<Bytes>, ExchangeError>> {
        let mut next = pin!(body.next());
        loop {
            tokio::select! {
                // In this order, so that bytes that are there wait for nothing.
                biased;
                next = &mut next => return Some(next),
                () = self.abandoned() => return None,
                Ok(()) = changes.changed() => self.set_waiting(guard),
            }
        }
    }

    /// Waits until a reader needs more. Returns the end of the flight then, or `None` if none will.
    async fn demand(&self) -> Option<u64> {
        loop {
            let mut changed = pin!(self.blob.demand.notified());
            changed.as_mut().enable();
            let demand = self.blob.flights.lock().demand(self.id);
            match demand {
                Demand::Until(end) => return Some(end),
                Demand::End => return None,
                Demand::Wait => changed.await,
            }
        }
    }

    /// Waits until no reader needs it.
    async fn abandoned(&self) {
        loop {
            let mut changed = pin!(self.blob.demand.notified());
            changed.as_mut().enable();
            if self.blob.flights.lock().demand(self.id) == Demand::End {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn arrived(&self, at: u64, bytes: Bytes) {
        self.blob.stored.write(at, bytes.clone());
        self.blob.flights.lock().arrived(self.id, bytes);
        self.blob.progress.notify_waiters();
    }

    fn set_waiting(&self, guard: &TransferGuard) {
        self.blob.flights.lock().set_waiting(self.id, guard.waiting());
        self.blob.progress.notify_waiters();
    }

    fn failed(&self, fault: &Fault) {
        self.blob.flights.lock().failed(self.id, fault);
        self.blob.progress.notify_waiters();
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.blob.flights.lock().ended(self.id);
        self.blob.progress.notify_waiters();
    }
}
