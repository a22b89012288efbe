//! One blob, its flights and its readers.

use super::flights::Flights;
use docxy_host::blob_store::StoredBlob;
use parking_lot::Mutex;
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

    /// Whether everybody could read it in this time.
    pub(super) fn is_public(&self, within: Duration) -> bool {
        let proven = self.stored.proven_public();
        proven.is_some_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed < within))
    }

    /// A registry has just shown it to a request without a credential.
    pub(crate) fn set_public(&self) {
        self.stored.set_proven_public(SystemTime::now());
    }
}
