//! One reader's way through a shared blob: from the flights, from the disk, or by a flight that it claims.
//!
//! Must never leave out a byte: what the disk has lost since is claimed again.

use super::flight::Claim;
use super::flights::Step;
use super::shared_blob::SharedBlob;
use crate::exchange::ExchangeError;
use crate::transfer::TransferContext;
use crate::transfer::range_request::RangeRequest;
use crate::transfer::resume::Source;
use crate::transfer::running::TransferGuard;
use bytes::Bytes;
use docxy_host::blob_store::StoredBlob;
use docxy_protocol::gaps::gaps;
use docxy_protocol::request::Request;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

/// Maximum number of bytes of one read from the disk: a chunk of the store.
const READ_BYTES_MAX: usize = 256 * 1024;

/// Missing ranges that a reader claims at once. The next ones are begun while the first one is read.
const CLAIMS_MAX: usize = 3;

/// A reader of these bytes of a blob.
pub(crate) struct SharedReader {
    blob: Arc<SharedBlob>,
    /// Its own, which keeps what was last read.
    stored: StoredBlob,
    id: u64,
    bytes: Range<u64>,
    context: TransferContext,
    range_request: RangeRequest,
    /// Whether a neighbour brings bytes for it.
    was_held: bool,
}

/// What is requested again if the disk has bytes that it cannot read.
const UNREADABLE_BYTES: u64 = 256 * 1024;

impl SharedReader {
    /// A reader of these bytes. It requests what is missing as this request does.
    pub(crate) fn new(
        context: &TransferContext,
        blob: Arc<SharedBlob>,
        request: Request,
        bytes: Range<u64>,
    ) -> Self {
        let (id, was_held) = {
            let mut flights = blob.flights.lock();
            let id = flights.add_reader(bytes.clone(), request.is_in_background());
            (id, flights.is_held_from(id))
        };
        let range_request = RangeRequest::blob(request, Some(blob.size()));
        let (stored, context) = (blob.stored.clone(), context.clone());
        Self { stored, blob, id, bytes, context, range_request, was_held }
    }

    /// Lets it read what others must wait for.
    pub(super) fn set_holder(&self) {
        self.blob.flights.lock().set_holder(self.id);
    }

    /// The bytes that it reads.
    pub(crate) const fn bytes(&self) -> &Range<u64> {
        &self.bytes
    }

    pub(crate) const fn stored(&self) -> &StoredBlob {
        &self.stored
    }

    /// Claims the first of its bytes that neither the disk has nor a flight brings, if there are any.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let missing = gaps(self.stored.missing(self.bytes.clone()));
        let mut flights = self.blob.flights.lock();
        if flights.is_held_from(self.id) {
            return None;
        }
        let bytes = missing.into_iter().find_map(|gap| flights.unclaimed(gap, self.id))?;
        Some(Claim::new(Arc::clone(&self.blob), flights.claim(self.id, bytes.clone()), bytes))
    }

    /// Its next bytes, of which `left` are left, at this position.
    ///
    /// # Errors
    /// If they are neither stored nor can be fetched.
    pub(in crate::transfer) async fn next(
        &self,
        at: u64,
        left: u64,
        guard: &TransferGuard,
    ) -> Result<Bytes, ExchangeError> {
        loop {
            let mut progress = pin!(self.blob.progress.notified());
            progress.as_mut().enable();
            let step = self.blob.flights.lock().step(self.id, at);
            self.blob.demand.notify_waiters();
            match step {
                Step::Bytes { mut bytes, is_owner } => {
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if !is_owner {
                        self.context.counters.bytes_shared.add(bytes.len() as u64);
                        guard.receive_cached(bytes.len() as u64);
                    }
                    guard.proceed();
                    return Ok(bytes);
                }
                Step::Failed(fault) => return Err(fault.into()),
                Step::Wait(flight) => {
                    guard.follow(&flight);
                    progress.await;
                }
                Step::Held => progress.await,
                Step::Look => {
                    let max = READ_BYTES_MAX.min(usize::try_from(left).unwrap_or(usize::MAX));
                    if let Some(bytes) = self.stored.read(at, max).await {
                        let (counters, length) = (&self.context.counters, bytes.len() as u64);
                        if self.was_held && at < self.blob.flights.lock().brought() {
                            counters.bytes_from_neighbours.add(length);
                            guard.receive_brought(length);
                        } else {
                            counters.bytes_from_disk.add(length);
                            guard.receive_cached(length);
                        }
                        guard.proceed();
                        return Ok(bytes);
                    }
                    self.claim_from(at);
                }
            }
        }
    }

    /// Begins flights for the missing bytes from this position on.
    fn claim_from(&self, at: u64) {
        let mut missing = self.stored.missing(at..self.bytes.end);
        if missing.first().is_none_or(|first| first.start != at) {
            // They came in the meantime, unless the disk cannot read them.
            missing.insert(0, at..self.bytes.end.min(at + UNREADABLE_BYTES));
        }
        for (n, gap) in gaps(missing).into_iter().enumerate().take(CLAIMS_MAX) {
            let mut flights = self.blob.flights.lock();
            let Some(bytes) = flights.unclaimed(gap.clone(), self.id).filter(|bytes| n == 0 || *bytes == gap)
            else {
                continue;
            };
            let id = flights.claim(self.id, bytes.clone());
            drop(flights);
            let source = Source::new(&self.context, self.range_request.clone(), None).after_response();
            Claim::new(Arc::clone(&self.blob), id, bytes).begin(source, None);
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.blob.flights.lock().remove_reader(self.id);
        self.blob.demand.notify_waiters();
    }
}
