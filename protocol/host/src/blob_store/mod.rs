//! Large blobs on the disk, whole or in part, for one process.
//!
//! Knows no HTTP and no sessions. Small documents are in [`store`](crate::store).
//!
//! Must never return bytes other than those that were written, nor a blob for another owner, nor let a slow disk delay
//! the caller of `write`.

mod blob;
mod chunks;
mod directory;
mod entries;
mod file;
mod key;
mod limits;
mod shared;
mod state;
mod store;
mod writer;

pub use blob::StoredBlob;
pub use key::{BlobKey, BlobOwner};
pub use limits::BlobLimits;
pub use state::{BlobStoreState, ListedBlob, OpenError, Prune, Pruned, VerifyReport};
pub use store::BlobStore;

#[cfg(test)]
mod tests;
