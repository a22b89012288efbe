//! Fetches an image through the tunnel into a file or a directory.
//!
//! Trusts nothing that it has not hashed: the result is the requested image, or there is none.

mod blob;
mod destination;
mod error;
#[cfg(test)]
mod fake_registry;
mod image_source;
mod layout;
mod progress;
mod run;
mod staged_image;
mod tar_plan;

pub use destination::{Destination, DestinationError, default_name};
pub use error::PullError;
pub use progress::Progress;

use crate::gateway::{Deadline, Gateway, ResponseDeadline};
use crate::transfer::Transfer;
use docxy_protocol::fault::Fault;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::PATIENCE_MAX;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use docxy_protocol::request::Request;
use http::Response;
use image_source::{ImageSource, RegistryClient};
use run::Pull;
use std::time::Duration;

/// How long a request waits for the tunnel: a handshake over a bad path, and several attempts.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

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
    async fn send(&self, request: Request) -> Result<Response<Transfer>, Fault> {
        let deadline =
            ResponseDeadline::patient(Deadline::including_first_connect(SESSION_TIMEOUT), PATIENCE_MAX);
        self.send_own(request, deadline).await
    }

    async fn blob(&self, request: Request, digest: &Digest, length: u64) -> Transfer {
        Self::blob(self, request, digest, length).await
    }
}
