//! What `docxy-client cache` does to the blobs on the disk: by itself, or by the running client that has them.

use docxy_host::blob_store::{BlobStore, ListedBlob, Prune, Pruned, VerifyReport};
use docxy_protocol::name::Registry;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Blobs in one message: each has at most about a kilobyte.
const LISTED_MAX: usize = 32;

/// Bytes that are checked between two messages.
const PROGRESS_BYTES: u64 = 16 << 20;

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CacheCall {
    /// List all.
    List,
    /// Remove those that are not in use.
    Prune(Prune),
    /// Remove what is private at this registry, even if it is in use.
    RemovePrivate(Registry),
    /// Check all.
    Verify,
}

/// A part of the answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CacheMessage {
    /// Some of the blobs, the last used first.
    Listed(Vec<ListedBlob>),
    /// What was removed.
    Pruned(Pruned),
    /// So many bytes are checked, of so many.
    Checked(u64, u64),
    /// What the check found.
    Verified(VerifyReport),
    /// Why there is no cache.
    Off(String),
}

impl CacheCall {
    /// Does it, and calls `tell` with each part of the answer; it may stop a check. Blocks.
    pub(crate) fn perform(self, store: &BlobStore, mut tell: impl FnMut(CacheMessage) -> ControlFlow<()>) {
        match self {
            Self::List => {
                let listed = store.list();
                let _ =
                    listed.chunks(LISTED_MAX).try_for_each(|some| tell(CacheMessage::Listed(some.to_vec())));
            }
            Self::Prune(prune) => drop(tell(CacheMessage::Pruned(store.prune(prune)))),
            Self::RemovePrivate(of) => {
                let blobs = store.remove_private(|registry, _| *registry == of);
                let _ = tell(CacheMessage::Pruned(Pruned { blobs, ..Pruned::default() }));
            }
            Self::Verify => {
                let mut told = 0;
                let report = store.verify(|done, all| {
                    if done < told + PROGRESS_BYTES {
                        return ControlFlow::Continue(());
                    }
                    told = done;
                    tell(CacheMessage::Checked(done, all))
                });
                let _ = tell(CacheMessage::Verified(report));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_api::Message;
    use docxy_host::blob_store::{BlobKey, BlobOwner};
    use docxy_protocol::frame;

    #[test]
    fn the_longest_names_fit_a_message() {
        let [part, host] = [250, 60].map(|length| "a".repeat(length));
        let owner = BlobOwner::Private(
            format!("{host}.{host}.{host}.{host}:65000").parse().unwrap(),
            format!("{part}/aaaa").parse().unwrap(),
        );
        let digest = format!("sha512:{}", "0a".repeat(64)).parse().unwrap();
        let used = std::time::SystemTime::now();
        let key = BlobKey { digest, owner };
        let blob = ListedBlob { key, size: u64::MAX, stored: u64::MAX, verified: true, used };
        assert!(frame::encode(&Message::Cache(CacheMessage::Listed(vec![blob; LISTED_MAX]))).is_ok());
    }
}
