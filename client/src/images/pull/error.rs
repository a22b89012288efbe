//! Why an image was not fetched.

use docxy_protocol::fault::Fault;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::ManifestError;
use docxy_protocol::platform::PlatformError;
use http::StatusCode;
use std::io;
use std::path::{Path, PathBuf};

/// Why the image was not fetched. `what` names the content.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the content, the request and the failure")]
pub enum PullError {
    /// A hop failed.
    #[error("cannot get {what}: {fault}")]
    Fault { what: String, fault: Fault },
    /// The registry refuses it.
    #[error("cannot get {what}: the registry responded {status}{message}")]
    Refused { what: String, status: StatusCode, message: String },
    /// It is something else.
    #[error("{what} has the wrong content, so it is not stored: expected {expected}, got {found}")]
    Mismatch { what: String, expected: String, found: String },
    /// The manifest cannot be used.
    #[error("cannot use {what}: {source}")]
    Manifest { what: String, source: ManifestError },
    /// It is too large for a manifest.
    #[error("{what} has more than {MANIFEST_BYTES_MAX} bytes")]
    TooLarge { what: String },
    /// The index has no image for the platform.
    #[error("{0}: choose one of these with --platform")]
    Platform(#[from] PlatformError),
    /// An index names other indexes, and these others, without end.
    #[error(
        "the image is in too many indexes, one in another: docxy reads {indexes} of them, or {mib} MiB. Name the image \
         itself by its digest"
    )]
    TooManyIndexes { indexes: usize, mib: usize },
    /// An image without an index is for another platform.
    #[error("the image is for {found} only, not for {wanted}")]
    OtherPlatform { wanted: String, found: String },
    /// Something came there during the pull.
    #[error(
        "{} was made during this pull, perhaps by another one, and is not replaced: choose another with -o, or pass --force",
        .0.display()
    )]
    Exists(PathBuf),
    /// The disk failed.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The disk failed within a blob.
    #[error("writing {what}: {source}")]
    WriteBlob { what: String, source: io::Error },
}

impl PullError {
    /// The image cannot be written to `path`.
    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}
