//! The blobs on the disk, as `/health` shows them, or why there are none.
//!
//! Must never stop a client: without a directory that it can use, it goes on without.

use crate::settings::{BLOBS, BlobSettings};
use crate::status::CacheReport;
use crate::transfer::SharedBlobs;
use docxy_host::blob_store::{BlobStore, StoreCause, StoreProblem};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long the end of the program waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The blobs on the disk. Clones share them.
#[derive(Debug, Clone)]
pub struct BlobCache(Result<(SharedBlobs, PathBuf), Off>);

/// Why there are none.
#[derive(Debug, Clone, derive_more::Display)]
enum Off {
    /// The user wants none.
    #[display("cache_size is 0")]
    Wanted,
    /// This program has not opened them.
    #[display("it was not opened")]
    NotOpened,
    #[display("{}", _0.text)]
    Problem(StoreProblem),
}

impl BlobCache {
    /// Those of this cache directory. Waits so long for a process that still has it, perhaps because it ends. Lists the files,
    /// and so blocks.
    #[must_use]
    pub fn open(cache: Option<&Path>, settings: BlobSettings, patience: Duration) -> Self {
        let Some(cache) = cache else {
            let text = "there is no cache directory".to_owned();
            return Self(Err(Off::Problem(StoreProblem { cause: StoreCause::NoDirectory, text })));
        };
        let Some(limits) = settings.limits else { return Self(Err(Off::Wanted)) };
        let directory = cache.join(BLOBS);
        match BlobStore::open_in(&directory, limits, patience) {
            Ok(store) => {
                Self(Ok((SharedBlobs::new(store, settings.keeps_private, settings.public_for), directory)))
            }
            Err(error) => {
                tracing::warn!(%error, "layers are not kept on the disk");
                Self(Err(Off::Problem(error.into())))
            }
        }
    }

    /// None are kept until they are opened.
    #[must_use]
    pub const fn not_opened() -> Self {
        Self(Err(Off::NotOpened))
    }

    pub(crate) fn blobs(&self) -> Option<SharedBlobs> {
        self.0.as_ref().ok().map(|(blobs, _)| blobs.clone())
    }

    /// Their store, or why there is none.
    pub(in crate::gateway) fn store(&self) -> Result<BlobStore, String> {
        self.0.as_ref().map(|(blobs, _)| blobs.store().clone()).map_err(ToString::to_string)
    }

    /// Removes what an earlier run kept of private repositories, if nothing of these is to be kept now.
    pub(crate) async fn forget_private(&self) {
        if let Ok((blobs, _)) = &self.0
            && !blobs.keeps_private()
        {
            let store = blobs.store().clone();
            let _ = tokio::task::spawn_blocking(move || store.remove_private(|_, _| true)).await;
        }
    }

    /// Writes what is not in the files yet. A slow disk delays the end of the program by a second at most.
    pub(crate) async fn close(&self) {
        if let Ok((blobs, _)) = &self.0 {
            let _ = timeout(FLUSH_TIMEOUT, blobs.store().flush()).await;
        }
    }

    /// The disk space that they use, for `status` and the page; `None` if there are to be none.
    pub(crate) fn report(&self) -> Option<CacheReport> {
        match &self.0 {
            Ok((blobs, _)) => {
                let state = blobs.store().state();
                let (problem, cause) = (state.paused, state.paused_cause);
                Some(CacheReport { bytes: state.bytes, limit: state.bytes_max, problem, cause })
            }
            Err(Off::Wanted | Off::NotOpened) => None,
            Err(Off::Problem(StoreProblem { cause, text })) => {
                Some(CacheReport { bytes: 0, limit: 0, problem: Some(text.clone()), cause: Some(*cause) })
            }
        }
    }

    /// Their state, for `/health`.
    pub(in crate::gateway) fn to_json(&self) -> Value {
        match &self.0 {
            Ok((blobs, directory)) => {
                let mut state = json!(blobs.store().state());
                state["state"] = json!("on");
                state["directory"] = json!(directory);
                state
            }
            Err(off) => json!({ "state": "off", "reason": off.to_string() }),
        }
    }
}
