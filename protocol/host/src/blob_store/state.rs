//! What users see of the store.

use super::key::BlobKey;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Why there is no store. The text is for the user.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what the system said")]
pub enum OpenError {
    /// Another process has it.
    #[error("another process uses {}: end it, or name another cache directory", directory.display())]
    InUse { directory: PathBuf },
    /// It is another user's.
    #[error("{} belongs to another user: run as that user, or name another cache directory", directory.display())]
    OtherUser { directory: PathBuf },
    /// It cannot be read or written.
    #[error("cannot use {}: {source}", directory.display())]
    Io { directory: PathBuf, source: io::Error },
}

/// Why nothing is kept, as a value that a page says in the language of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "snake_case")]
pub enum StoreCause {
    /// There is no directory for it.
    NoDirectory,
    /// Another process uses it.
    InUse,
    /// It is another user's.
    OtherUser,
    /// The file system is read-only.
    ReadOnly,
    /// The disk is full, or would be.
    Full,
    /// It cannot be read or written.
    Unusable,
}

/// Why nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreProblem {
    /// As a value.
    pub cause: StoreCause,
    /// In English, for the user.
    pub text: String,
}

impl StoreProblem {
    pub(super) fn new(cause: StoreCause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }
}

impl From<OpenError> for StoreProblem {
    fn from(error: OpenError) -> Self {
        let cause = match &error {
            OpenError::InUse { .. } => StoreCause::InUse,
            OpenError::OtherUser { .. } => StoreCause::OtherUser,
            OpenError::Io { source, .. } => StoreCause::of(source),
        };
        Self::new(cause, error.to_string())
    }
}

impl StoreCause {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Unusable,
        }
    }
}

/// The state of a store, for `/health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobStoreState {
    /// The number of blobs, whole or not.
    pub blobs: u64,
    /// The disk space that they use.
    pub bytes: u64,
    /// The disk space that they may use now.
    pub bytes_max: u64,
    /// Why nothing is written now, as for a full disk.
    pub paused: Option<String>,
    /// The same as a value.
    pub paused_cause: Option<StoreCause>,
    /// Bytes that were not stored since the start, because the disk was too slow or had no room.
    pub bytes_dropped: u64,
    /// Chunks that were damaged since the start. They are fetched again.
    pub chunks_damaged: u64,
    /// Blobs that were evicted since the start.
    pub blobs_evicted: u64,
}

/// A blob, as `cache list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedBlob {
    /// Which blob.
    pub key: BlobKey,
    /// Bytes of the whole blob.
    pub size: u64,
    /// Bytes of it that are there.
    pub stored: u64,
    /// Whether the digest of the whole was found to be right.
    pub verified: bool,
    /// The last use.
    pub used: SystemTime,
}

/// Which blobs to remove; those in use stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// Remove the least recently used until so many bytes are left.
    pub keep_bytes: u64,
    /// Keep those that were used in this time.
    pub used_within: Option<Duration>,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a check of all blobs found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Blobs that were checked.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks that were damaged, and are removed.
    pub chunks_damaged: u64,
    /// Blobs whose digest was wrong, and which are removed.
    pub blobs_wrong: u64,
}
