//! Fetches an image through the tunnel into a file or a directory.
//!
//! Trusts nothing that it has not hashed: the result is the requested image, or there is none.

mod blob;
mod blob_writer;
mod destination;
#[cfg(test)]
mod fake_registry;
mod image_source;
mod layout;
mod progress;
mod run;
mod staged_image;
mod tar_plan;

pub use blob::BlobError;
pub use destination::{Destination, DestinationError, default_name};
pub use image_source::SourceError;
pub use progress::Progress;

use crate::gateway::Deadline;
use crate::gateway::{self, Gateway};
use docxy_protocol::fault::Fault;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::{Platform, PlatformError};
use docxy_protocol::request::Request;
use http::Response;
use http_body_util::BodyExt as _;
use image_source::{Body, ImageSource, RegistryClient};
use run::Pull;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a request waits for its response: a handshake over a bad path, and several attempts.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the image was not fetched.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "most errors are documented where they are made")]
pub enum PullError {
    #[error(transparent)]
    ImageSource(#[from] SourceError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The index has no image for the platform.
    #[error("{0}: choose one of these with --platform")]
    Platform(#[from] PlatformError),
    /// An index names another index.
    #[error("the index names {0}, which is another index; docxy cannot select an image")]
    Nested(Digest),
    /// An image without an index is for another platform.
    #[error("the image is for {found} only, not for {wanted}")]
    OtherPlatform { wanted: String, found: String },
    /// The disk failed.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What to fetch, and where to.
#[derive(Debug)]
pub struct PullRequest {
    /// The image.
    pub image: ImageName,
    /// The platform; that of this machine if `None`.
    pub platform: Option<Platform>,
    /// Where to write it.
    pub destination: Destination,
}

/// Fetches an image. Returns the digest of its reference: of the index, if it has one.
///
/// Dropping the future leaves no files.
///
/// # Errors
/// If the image cannot be fetched, or does not match its digests. No files are left then.
pub async fn pull(
    pull_request: &PullRequest,
    gateway: Gateway,
    progress: &Progress,
) -> Result<Digest, PullError> {
    Pull { pull_request, source: ImageSource::new(gateway, &pull_request.image), progress }.run().await
}

impl RegistryClient for Gateway {
    async fn send(&self, request: Request) -> Result<Response<Body>, Fault> {
        let deadline = Deadline::including_first_connect(RESPONSE_TIMEOUT);
        let gateway::Response { status, headers, body } = Self::send(self, request, deadline).await?;
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers.into_map();
        Ok(response)
    }
}
