//! Fetches an image through the tunnel into a file or a directory.
//!
//! Trusts nothing that it hasn't hashed: what comes out is what was asked for, or it is not there.

mod blob;
mod destination;
mod draft;
mod layout;
mod progress;
mod run;
#[cfg(test)]
mod script;
mod source;
mod tar_plan;
mod writer;

pub use blob::BlobError;
pub use destination::{Destination, DestinationError, default_name};
pub use progress::Progress;
pub use source::SourceError;

use crate::gateway::Gateway;
use crate::tunnel::Patience;
use docxy_protocol::fault::Fault;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::{Platform, PlatformError};
use docxy_protocol::request::Request;
use http::Response;
use http_body_util::BodyExt as _;
use run::Pull;
use source::{Ask, Body, Source};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a request waits for the tunnel: a handshake on a bad line, and some attempts.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "most errors are documented where they are made")]
pub enum PullError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The image isn't made for what is wanted.
    #[error("{0}: choose one of these with --platform")]
    Platform(#[from] PlatformError),
    /// An index names what is no image.
    #[error("the index names {0}, which is an index again; docxy doesn't know which image to take")]
    Nested(Digest),
    /// An image without an index is for something else.
    #[error("the image is for {found} only, not for {wanted}")]
    OtherPlatform { wanted: String, found: String },
    /// The disk failed.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What is to be fetched, and where to.
#[derive(Debug)]
pub struct Order {
    /// Which image.
    pub image: ImageName,
    /// For which platform; this machine's where nothing was said.
    pub platform: Option<Platform>,
    /// Where to put it.
    pub destination: Destination,
}

/// Fetches an image. Returns the digest of what its name stands for: the index, where it has one.
///
/// Dropping the future leaves nothing behind.
///
/// # Errors
/// Where the image is not to be had, or isn't what it claims to be. Nothing is left then.
pub async fn pull(order: &Order, gateway: Gateway, progress: &Progress) -> Result<Digest, PullError> {
    Pull { order, source: Source::new(gateway, &order.image), progress }.run().await
}

impl Ask for Gateway {
    async fn ask(&self, request: Request) -> Result<Response<Body>, Fault> {
        let answer = self.ask(request, Patience::from_the_start(PATIENCE)).await?;
        let mut response = Response::new(answer.body.boxed_unsync());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.into_map();
        Ok(response)
    }
}
