//! What a pull fetches.

use super::destination::Destination;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::platform::Platform;

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
