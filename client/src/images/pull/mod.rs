//! Fetches an image through a tunnel into a file or a directory.
//!
//! Trusts nothing that it has not hashed: the result is the requested image, or there is none.

mod blob;
mod connection;
mod destination;
mod error;
#[cfg(test)]
mod fake_registry;
mod image_source;
mod layout;
mod progress;
mod run;
mod selected_image;
mod staged_image;
mod tar_plan;

pub use connection::Connection;
pub(crate) use connection::manifest_bytes;
pub use destination::{Destination, DestinationError, default_name};
pub use error::PullError;
pub(crate) use image_source::{BlobEvents, ImageSource, RegistryClient};
pub use progress::Progress;
pub(crate) use selected_image::blobs;

use docxy_protocol::authorization::Login;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use run::Pull;

/// What to fetch, and where to.
#[derive(Debug)]
pub struct PullRequest {
    /// The image.
    pub image: ImageName,
    /// The platform; that of this machine if `None`.
    pub platform: Option<Platform>,
    /// The account to use.
    pub login: Option<Login>,
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
    connection: &Connection,
    progress: &Progress,
) -> Result<Digest, PullError> {
    let PullRequest { image, platform, login, .. } = pull_request;
    let source = ImageSource::new(connection, image, platform.clone(), login.clone());
    Pull { pull_request, source, progress }.run().await
}
