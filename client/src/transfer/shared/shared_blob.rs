//! One blob, its flights and its readers.

use super::flights::Flights;
use docxy_host::blob_store::StoredBlob;
use parking_lot::Mutex;
use std::pin::pin;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

/// A blob that several readers share.
#[derive(Debug)]
pub(crate) struct SharedBlob {
    pub(super) stored: StoredBlob,
    pub(super) flights: Mutex<Flights>,
    /// Bytes have arrived, or a flight has ended.
    pub(super) progress: Notify,
    /// A reader has read, or has gone.
    pub(super) demand: Notify,
}

impl SharedBlob {
    pub(super) fn new(stored: StoredBlob) -> Self {
        Self { stored, flights: Mutex::default(), progress: Notify::new(), demand: Notify::new() }
    }

    /// Bytes of the whole.
    pub(crate) fn size(&self) -> u64 {
        self.stored.size()
    }

    /// Whether it was public in this time.
    pub(super) fn is_public(&self, within: Duration) -> bool {
        let proven = self.stored.proven_public();
        proven.is_some_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed < within))
    }

    /// Waits until what comes ahead of its readers shows that it is public; `false` if nothing does.
    pub(super) async fn is_shown_ahead(&self, within: Duration) -> bool {
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.is_public(within) {
                return true;
            }
            if !self.flights.lock().are_ahead() {
                return false;
            }
            progress.await;
        }
    }

    /// Waits for its first reader.
    pub(super) async fn is_read(&self) {
        loop {
            let mut demand = pin!(self.demand.notified());
            demand.as_mut().enable();
            if self.flights.lock().was_read() {
                return;
            }
            demand.await;
        }
    }

    /// A registry has just shown it to a request without a credential.
    pub(crate) fn set_public(&self) {
        self.stored.set_proven_public(SystemTime::now());
    }
}
