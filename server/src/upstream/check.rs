//! Tries a pull from a registry, hop by hop, for `docxy-server check`.
//!
//! Uses the same code as clients' requests. Must never print a token or a signed URL.

use super::error::UpstreamError;
use super::manifest::rate_limit::describe;
use super::registries::Upstream;
use super::registry::authorized_registry::AuthorizedRegistry;
use super::registry::public_proof::PublicProof;
use super::registry::response::{Response, ResponseBody};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{Descriptor, MEDIA_TYPES, Manifest};
use docxy_protocol::name::{Reference, Registry};
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::text::{CleanText, clean};
use http::{HeaderValue, StatusCode, header};

/// The result for one hop: a print_note, or a fault.
#[derive(Debug)]
pub(crate) struct HopCheck {
    /// The hop.
    pub(crate) what: &'static str,
    /// The result.
    pub(crate) outcome: Result<CleanText, Fault>,
}

impl Upstream {
    /// Tries all hops for this image. The first failure ends it, since later hops cannot be reached.
    pub(crate) async fn check(&self, image: &ImageName) -> Vec<HopCheck> {
        let mut findings = Vec::new();
        let tried = try_hops(self, image, &mut findings).await;
        findings.extend(tried.err());
        findings
    }

    /// Tries only the registry and its token service, if no image is known.
    pub(crate) async fn check_login(&self, name: &Registry) -> Vec<HopCheck> {
        let mut findings = Vec::new();
        let tried = match self.registry(name) {
            Ok(registry) => try_login(registry, None, &mut findings).await,
            Err(error) => Err(HopCheck::failed("registry", error)),
        };
        findings.extend(tried.err());
        findings
    }
}

impl HopCheck {
    fn failed(what: &'static str, error: UpstreamError) -> Self {
        if let Some(causes) = error.causes() {
            tracing::warn!(hop = what, %causes, "check failed");
        }
        Self { what, outcome: Err(error.fault) }
    }
}

async fn try_login(
    registry: &AuthorizedRegistry,
    image: Option<&ImageName>,
    findings: &mut Vec<HopCheck>,
) -> Result<(), HopCheck> {
    let mut found = |what, text: String| findings.push(HopCheck { what, outcome: Ok(clean(text)) });
    let (api, realm) =
        registry.check_challenge().await.map_err(|error| HopCheck::failed("registry", error))?;
    found("registry", format!("{api} answers"));
    let Some(realm) = realm else {
        found("token service", "the registry needs no tokens".into());
        return Ok(());
    };
    let repository = image.map(|image| image.repository.clone());
    let accounts =
        registry.check_tokens(repository).await.map_err(|error| HopCheck::failed("token service", error))?;
    found("token service", format!("{realm} grants tokens to {accounts}"));
    Ok(())
}

async fn try_hops(
    upstream: &Upstream,
    image: &ImageName,
    findings: &mut Vec<HopCheck>,
) -> Result<(), HopCheck> {
    let registry = upstream.registry(&image.registry).map_err(|error| HopCheck::failed("registry", error))?;
    try_login(registry, Some(image), findings).await?;
    let mut found = |what, text: String| findings.push(HopCheck { what, outcome: Ok(clean(text)) });
    let request = request(image, &image.reference, Method::Head);
    let head =
        expect_ok(upstream.send(&request).await).map_err(|error| HopCheck::failed("manifest", error))?;
    found("manifest", format!("{image} is there"));
    let rate_limit = RateLimit::from_headers(&head.headers).map(|limit| describe(&limit));
    found("quota", rate_limit.unwrap_or_else(|| "the registry reports no limit".into()));
    let blob = small_blob(upstream, &request, head.public_proof)
        .await
        .map_err(|error| HopCheck::failed("manifest", error))?;
    let length = read_blob(upstream, image, &blob).await.map_err(|error| HopCheck::failed("CDN", error))?;
    found("CDN", format!("{length} bytes of {} received", blob.digest));
    Ok(())
}

/// A small blob of an image: its config.
async fn small_blob(
    upstream: &Upstream,
    request: &Request,
    proof: Option<PublicProof>,
) -> Result<Descriptor, UpstreamError> {
    let proof = proof.ok_or_else(|| bad_response("names no digest of the image's manifest"))?;
    let (mut digest, mut proof) = (proof.digest().clone(), Some(proof));
    // An index, then one of its images.
    for _ in 0..2 {
        let stored = upstream.public_manifest(request, &digest, proof.take().as_ref()).await;
        let stored = stored.ok_or_else(|| bad_response(format!("does not send the manifest {digest}")))?;
        match Manifest::parse(stored.bytes(), stored.content_type()) {
            Ok(Manifest::Image(image)) => return Ok(image.config),
            Ok(Manifest::Index(entries)) => {
                let image = entries.into_iter().next().ok_or_else(|| bad_response("sends an empty index"))?;
                digest = image.digest;
            }
            Err(error) => return Err(bad_response(format!("sends an invalid manifest: {error}"))),
        }
    }
    Err(bad_response("sends an index of indexes"))
}

async fn read_blob(
    upstream: &Upstream,
    image: &ImageName,
    blob: &Descriptor,
) -> Result<usize, UpstreamError> {
    let mut request = request(image, &image.reference, Method::Get);
    request.operation = Operation::Blob {
        repository: image.repository.clone(),
        digest: blob.digest.clone(),
        method: Method::Get,
    };
    let response = expect_ok(upstream.send(&request).await)?;
    let ResponseBody::Stream(mut download) = response.body else { return Ok(0) };
    let mut length = 0;
    while let Some(chunk) = download.next().await? {
        length += chunk.len();
        if length > MANIFEST_BYTES_MAX {
            break;
        }
    }
    Ok(length)
}

fn request(image: &ImageName, reference: &Reference, method: Method) -> Request {
    let mut headers = Headers::default();
    if let Ok(accept) = HeaderValue::try_from(MEDIA_TYPES.join(", ")) {
        headers.set(header::ACCEPT, accept);
    }
    let repository = image.repository.clone();
    let operation = Operation::Manifest { repository, reference: reference.clone(), method };
    Request::new(image.registry.clone(), operation)
        .with_authorization(Authorization::Public)
        .with_headers(headers)
}

fn expect_ok(response: Result<Response, UpstreamError>) -> Result<Response, UpstreamError> {
    let response = response?;
    match response.status {
        StatusCode::OK => Ok(response),
        status => Err(bad_response(format!("answers {status}"))),
    }
}

fn bad_response(detail: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::new(Hop::Registry, FaultKind::MalformedResponse, detail)
}
