//! Why an image was not fetched.

use super::image_source::SourceError;
use docxy_protocol::platform::PlatformError;
use std::io;
use std::path::PathBuf;

/// Why the image was not fetched.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "most errors are documented where they are made")]
pub enum PullError {
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The index has no image for the platform.
    #[error("{0}: choose one of these with --platform")]
    Platform(#[from] PlatformError),
    /// An index names other indexes, and these others, without end.
    #[error("the image is in too many indexes that name each other: docxy reads {limit}")]
    TooManyIndexes { limit: usize },
    /// An image without an index is for another platform.
    #[error("the image is for {found} only, not for {wanted}")]
    OtherPlatform { wanted: String, found: String },
    /// The disk failed.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The disk failed within a blob.
    #[error("writing {what}: {source}")]
    WriteBlob { what: String, source: io::Error },
}
