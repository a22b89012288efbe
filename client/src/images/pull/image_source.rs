//! The manifests and blobs of one repository.
//!
//! Every manifest is verified here, and every blob by its transfer.

use super::error::PullError;
use crate::accounts::denied::AnonymousContent;
use crate::gateway::TransferEvent;
use crate::gateway::UsedAccount;
use bytes::Bytes;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::digester::Digester;
use docxy_protocol::error_body;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::Headers;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{Descriptor, MEDIA_TYPES, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::PrefetchHint;
use docxy_protocol::request::{Method, Operation, Request};
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use std::fmt::Display;

/// How an account is used.
const WITH_AN_ACCOUNT: &str = "docxy-client login, or docxy-client pull --creds USER";

/// The bytes of a blob, from its first to its last, and why they wait.
pub(crate) type BlobEvents<'a> = BoxStream<'a, Result<TransferEvent, Fault>>;

/// Sends requests to a registry: a connection, or a fake in tests.
pub(crate) trait RegistryClient: Sync {
    /// Sends one request, and returns the response. Of a body with more than [`MANIFEST_BYTES_MAX`] bytes, not all.
    fn send(&self, request: Request) -> impl Future<Output = Result<Response<Bytes>, Fault>> + Send;

    /// The blob of this length which the request is for. It ends only if it matches its digest.
    fn blob(&self, request: Request, length: u64) -> BlobEvents<'_>;
}

/// The repository of an image.
pub(crate) struct ImageSource<'a, A> {
    client: A,
    image: &'a ImageName,
    /// The platform that is pulled.
    platform: Platform,
    login: Option<Login>,
}

/// A manifest that matches its digest.
#[derive(Debug)]
pub(super) struct VerifiedManifest {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
}

impl<'a, A: RegistryClient> ImageSource<'a, A> {
    /// The repository of an image, for this platform, or that of this machine, as this account sees it.
    pub(crate) fn new(
        client: A,
        image: &'a ImageName,
        platform: Option<Platform>,
        login: Option<Login>,
    ) -> Self {
        Self { client, image, platform: platform.unwrap_or_else(Platform::local), login }
    }

    pub(super) const fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(super) const fn reference(&self) -> &Reference {
        &self.image.reference
    }

    /// A manifest, by tag or by digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<VerifiedManifest, PullError> {
        let what = format!("the manifest {reference} of {}/{}", self.image.registry, self.image.repository);
        let operation = Operation::Manifest {
            repository: self.image.repository.clone(),
            reference: reference.clone(),
            method: Method::Get,
        };
        let accepted = MEDIA_TYPES.map(|name| (header::ACCEPT, HeaderValue::from_static(name)));
        let hint = PrefetchHint {
            platform: self.platform.clone(),
            small_blobs: true,
            known: None,
            layer_segments: 0,
        };
        let mut request = self.request(operation, accepted);
        request.prefetch = Some(hint);
        let (head, bytes) = match self.client.send(request).await {
            Ok(response) if response.status() == StatusCode::OK => response.into_parts(),
            Ok(response) => return Err(self.refused(what, &response)),
            Err(fault) => return Err(PullError::Fault { what, fault }),
        };
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(PullError::TooLarge { what });
        }
        // Some registries report a wrong digest for a tag. As for engines, only the requested one counts.
        let digest = match reference {
            Reference::Digest(expected) => {
                let found = Digester::matching(expected).digest(&bytes);
                check(&what, expected, &found)?;
                found
            }
            Reference::Tag(_) => Digester::sha256().digest(&bytes),
        };
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match Manifest::parse(&bytes, content_type) {
            Ok(manifest) => Ok(VerifiedManifest { digest, bytes, manifest }),
            Err(source) => Err(PullError::Manifest { what, source }),
        }
    }

    /// The content of a blob.
    pub(super) fn blob(&self, blob: &Descriptor) -> BlobEvents<'_> {
        self.client.blob(self.blob_request(blob), blob.size)
    }

    /// The request for a blob.
    pub(crate) fn blob_request(&self, blob: &Descriptor) -> Request {
        let operation = Operation::Blob {
            repository: self.image.repository.clone(),
            digest: blob.digest.clone(),
            method: Method::Get,
        };
        self.request(operation, None)
    }

    fn refused(&self, what: String, response: &Response<Bytes>) -> PullError {
        let status = response.status();
        let said = error_body::message(response.body());
        let said = said.filter(|said| status.canonical_reason() != Some(said.as_str()));
        let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let ImageName { registry, repository, .. } = self.image.clone();
        let message = match said {
            said if is_denied && !registry.is_docker_hub() => {
                let content = AnonymousContent {
                    registry,
                    repository,
                    is_credential_withheld: false,
                    account: self
                        .login
                        .as_ref()
                        .map(|login| UsedAccount { user: login.user.clone(), retry_after: None }),
                };
                format!(": {}", content.denial(said.as_ref()))
            }
            // Docker Hub responds the same for private and missing images.
            said if is_denied => {
                format!(
                    "{}\nIs the name right? If the image is private: {WITH_AN_ACCOUNT}",
                    after_colon(said)
                )
            }
            // The server advises an account.
            said if status == StatusCode::TOO_MANY_REQUESTS && registry.is_docker_hub() => {
                format!("{}\nTo use an account: {WITH_AN_ACCOUNT}", after_colon(said))
            }
            said => after_colon(said),
        };
        PullError::Refused { what, status, message }
    }

    fn request(
        &self,
        operation: Operation,
        fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Request {
        let mut headers = HeaderMap::new();
        let agent = concat!("docxy-client/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in fields {
            headers.append(name, value);
        }
        Request::new(self.image.registry.clone(), operation)
            .with_authorization(self.login.clone().map_or(Authorization::Public, Authorization::Login))
            .with_headers(Headers::filter_request(&headers))
    }
}

fn after_colon(said: Option<impl Display>) -> String {
    said.map(|said| format!(": {said}")).unwrap_or_default()
}

/// Compares a digest or a size with the expected one.
pub(super) fn check<T: PartialEq + Display>(what: &str, expected: T, found: T) -> Result<(), PullError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(PullError::Mismatch { what: what.to_owned(), expected, found })
}

#[cfg(test)]
mod tests {
    use super::super::fake_registry::{FakeRegistry, response};
    use super::*;
    use docxy_protocol::headers::DOCKER_CONTENT_DIGEST;

    fn image() -> ImageName {
        "alpine".parse().unwrap()
    }

    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    async fn manifest(
        responses: Vec<Response<Bytes>>,
        reference: &str,
    ) -> Result<VerifiedManifest, PullError> {
        let image = image();
        ImageSource::new(&FakeRegistry::new(responses), &image, None, None)
            .manifest(&reference.parse().unwrap())
            .await
    }

    #[tokio::test]
    async fn a_manifest_must_match_its_digest() {
        let right = Digester::sha256().digest(INDEX.as_bytes());
        let wrong = Digester::sha256().digest(b"");
        let response = |announced: Option<&Digest>| {
            let mut response = response(200, INDEX);
            if let Some(digest) = announced {
                response.headers_mut().insert(&DOCKER_CONTENT_DIGEST, digest.as_str().parse().unwrap());
            }
            vec![response]
        };
        assert_eq!(manifest(response(None), "latest").await.unwrap().digest, right);
        assert_eq!(manifest(response(Some(&right)), right.as_str()).await.unwrap().digest, right);
        assert_eq!(manifest(response(Some(&wrong)), "latest").await.unwrap().digest, right);
        assert_eq!(manifest(response(Some(&wrong)), right.as_str()).await.unwrap().digest, right);
        let error = manifest(response(Some(&wrong)), wrong.as_str()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("expected {wrong}, got {right}")), "{error}");
    }

    #[tokio::test]
    async fn an_error_holds_the_message_of_the_registry() {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication\u001b required"}]}"#;
        let error = manifest(vec![response(401, body)], "latest").await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "cannot get the manifest latest of docker.io/library/alpine: the registry responded 401 \
                 Unauthorized: authentication required\nIs the name right?"
            ),
            "{error:?}"
        );
        let used_up = manifest(vec![response(429, body)], "latest").await.unwrap_err().to_string();
        assert!(used_up.contains("429") && used_up.contains("docxy-client login"), "{used_up}");
        let error = manifest(vec![response(404, "<html>")], "latest").await.unwrap_err().to_string();
        assert!(error.ends_with("the registry responded 404 Not Found"), "{error}");
    }

    #[tokio::test]
    async fn a_login_is_advised_for_a_private_image() {
        for (status, body, said) in [
            (401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}"#, " (ghcr.io says: log in)"),
            (403, "", ""),
        ] {
            let image = "ghcr.io/priv/x".parse().unwrap();
            let client = FakeRegistry::new(vec![response(status, body)]);
            let error = ImageSource::new(&client, &image, None, None)
                .manifest(&image.reference)
                .await
                .unwrap_err()
                .to_string();
            let words = format!(
                ": docxy: ghcr.io denied anonymous access to priv/x: it is private, or does not exist{said}. No account"
            );
            assert!(error.contains(&words) && error.contains("docxy-client login ghcr.io"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_endless_manifest_is_an_error() {
        let endless = vec![response(200, &" ".repeat(MANIFEST_BYTES_MAX + 1))];
        let error = manifest(endless, "latest").await.unwrap_err();
        assert!(matches!(error, PullError::TooLarge { .. }), "{error}");
    }
}
