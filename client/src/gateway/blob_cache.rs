//! The blobs on the disk, as `/health` shows them, or why there are none.
//!
//! Must never stop a client: without a directory that it can use, it goes on without.

use crate::settings::{BLOBS, BlobSettings};
use crate::status::CacheReport;
use crate::transfer::SharedBlobs;
use docxy_host::blob_store::BlobStore;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long the end of the program waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The blobs on the disk. Clones share them.
#[derive(Debug, Clone)]
pub struct BlobCache(Result<(SharedBlobs, PathBuf), String>);

impl BlobCache {
    /// Those of this cache directory. Lists the files, and so blocks.
    #[must_use]
    pub fn open(cache: Option<&Path>, settings: BlobSettings) -> Self {
        let Some(cache) = cache else { return Self::off("there is no cache directory") };
        let Some(limits) = settings.limits else { return Self::off("its size is 0") };
        let directory = cache.join(BLOBS);
        match BlobStore::open(&directory, limits) {
            Ok(store) => {
                Self(Ok((SharedBlobs::new(store, settings.keeps_private, settings.public_for), directory)))
            }
            Err(error) => {
                tracing::warn!(%error, "layers are not kept on the disk");
                Self::off(&error.to_string())
            }
        }
    }

    /// None are kept, for this reason.
    #[must_use]
    pub fn off(reason: &str) -> Self {
        Self(Err(reason.to_owned()))
    }

    pub(crate) fn blobs(&self) -> Option<SharedBlobs> {
        self.0.as_ref().ok().map(|(blobs, _)| blobs.clone())
    }

    /// Their store, or why there is none.
    pub(super) fn store(&self) -> Result<BlobStore, String> {
        self.0.as_ref().map(|(blobs, _)| blobs.store().clone()).map_err(String::clone)
    }

    /// Removes what an earlier run kept of private repositories, if nothing of these is to be kept now.
    pub(crate) async fn forget_private(&self) {
        if let Ok((blobs, _)) = &self.0
            && !blobs.keeps_private()
        {
            blobs.store().remove_private(|_, _| true).await;
        }
    }

    /// Writes what is not in the files yet. A slow disk delays the end of the program by a second at most.
    pub(crate) async fn close(&self) {
        if let Ok((blobs, _)) = &self.0 {
            let _ = timeout(FLUSH_TIMEOUT, blobs.store().flush()).await;
        }
    }

    /// The disk space that they use, for the page; `None` without a directory.
    pub(crate) fn report(&self) -> Option<CacheReport> {
        let state = self.0.as_ref().ok()?.0.store().state();
        Some(CacheReport { bytes: state.bytes, limit: state.bytes_max })
    }

    /// Their state, for `/health`.
    pub(super) fn to_json(&self) -> Value {
        match &self.0 {
            Ok((blobs, directory)) => {
                let mut state = json!(blobs.store().state());
                state["state"] = json!("on");
                state["directory"] = json!(directory);
                state
            }
            Err(reason) => json!({ "state": "off", "reason": reason }),
        }
    }
}
