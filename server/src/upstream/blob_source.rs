//! Where the rest of a blob is asked for: its registry, with what the first answer was asked with.

use super::body::Body;
use super::download::Source;
use super::follow::Followed;
use super::registry::Registry;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

/// A blob of a registry.
#[derive(Debug)]
pub(crate) struct BlobSource {
    registry: Arc<Registry>,
    request: Request,
}

impl BlobSource {
    /// The blob that was asked for by `request`.
    pub(super) fn new(registry: Arc<Registry>, mut request: Request) -> Self {
        // The first answer has settled them, and which form of the content it is.
        request.headers.remove_conditional_fields();
        request.headers.set(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self { registry, request }
    }
}

impl Source for BlobSource {
    type Body = Body;

    async fn rest(&self, range: HeaderValue) -> Result<Followed, Fault> {
        let mut request = self.request.clone();
        request.headers.set(header::RANGE, range);
        let answer = self.registry.ask_once(&request).await?;
        // Of those that the server holds itself, a fresh one was tried already.
        let ours = request.authorization == Authorization::Public;
        if answer.hop == Hop::Registry && answer.response.status() == StatusCode::UNAUTHORIZED && !ours {
            let detail = "the credential of this transfer has expired in the middle of it";
            return Err(Fault::new(Hop::Registry, FaultKind::CredentialExpired, detail));
        }
        Ok(answer)
    }

    fn chance(&self) -> f64 {
        self.registry.chance()
    }
}
