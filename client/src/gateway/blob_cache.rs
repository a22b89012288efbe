//! The blobs on the disk, as `/health` shows them, or why there are none.
//!
//! Must never stop a client: without a directory that it can use, it goes on without.

use crate::settings::{BLOBS, BlobSettings};
use crate::transfer::SharedBlobs;
use docxy_host::blob_store::BlobStore;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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

    pub(super) fn blobs(&self) -> Option<SharedBlobs> {
        self.0.as_ref().ok().map(|(blobs, _)| blobs.clone())
    }

    /// Their store, or why there is none.
    pub(super) fn store(&self) -> Result<BlobStore, String> {
        self.0.as_ref().map(|(blobs, _)| blobs.store().clone()).map_err(String::clone)
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
