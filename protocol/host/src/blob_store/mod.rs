//! Large blobs on the disk, whole or in part, for one process. Small documents are in [`store`](crate::store).
//!
//! What each part does:
//! - `key`: which blob, and who may see it; the names of files.
//! - `store`: all blobs of a directory, and `shared`: what they share.
//! - `blob`: one blob in use, which readers and writers share.
//! - `chunks`: which of its bytes are there. Pure.
//! - `file`: its file: a checksum for each chunk of 256 KiB, compared before bytes are returned.
//! - `writer`: the thread that changes files, behind a bounded queue.
//! - `entries`, `limits`: what is evicted, and how much room there is. Neither touches a file.
//! - `directory`: files by name; what the store has not made stays as it is.
//!
//! Blobs only save transfers, so nothing is flushed: what a crash loses or tears is missing. A whole blob is hashed once, by
//! the stream that brings it or by the store.
//!
//! Knows no HTTP and no sessions. Must never return bytes other than those that were written, nor a blob for another owner,
//! nor let a slow disk delay the caller of `write`.

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
pub use state::{
    BlobStoreState, ListedBlob, OpenError, Prune, Pruned, StoreCause, StoreProblem, VerifyReport,
};
pub use store::BlobStore;

#[cfg(test)]
mod tests;
