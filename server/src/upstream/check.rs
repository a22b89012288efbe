//! Tries a pull from a registry, hop by hop, for `docxy-server check`.
//!
//! Uses the same code as clients' requests. Must never print a token or a signed URL.

use super::error::UpstreamError;
use super::manifest::rate_limit::describe;
use super::registries::Upstream;
use super::registry::public_proof::PublicProof;
use super::registry::response::{Response, ResponseBody};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{Descriptor, MEDIA_TYPES, Manifest};
use docxy_protocol::name::Registry;
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::text::{CleanText, clean};
use http::{HeaderValue, StatusCode, header};

/// The result for one hop: a remark, or a fault.
#[derive(Debug)]
pub(crate) struct HopCheck {
    /// The hop.
    pub(crate) what: &'static str,
    /// The result.
    pub(crate) outcome: Result<CleanText, Fault>,
}

impl Upstream {
    /// Tries the registry and its token service, and all other hops if an image is known. The first failure ends it,
    /// since later hops cannot be reached.
    pub(crate) async fn check(&self, name: &Registry, image: Option<&ImageName>) -> Vec<HopCheck> {
        let mut findings = Vec::new();
        let tried = try_hops(self, name, image, &mut findings).await;
        findings.extend(tried.err());
        findings
    }
}

/// The outcome of this hop, as a finding if it has failed.
fn at<T>(what: &'static str, outcome: Result<T, UpstreamError>) -> Result<T, HopCheck> {
    outcome.map_err(|error| {
        if let Some(causes) = error.causes() {
            tracing::warn!(hop = what, %causes, "check failed");
        }
        HopCheck { what, outcome: Err(error.fault) }
    })
}

async fn try_hops(
    upstream: &Upstream,
    name: &Registry,
    image: Option<&ImageName>,
    findings: &mut Vec<HopCheck>,
) -> Result<(), HopCheck> {
    let mut found = |what, text: String| findings.push(HopCheck { what, outcome: Ok(clean(text)) });
    let registry = at("registry", upstream.registry(name))?;
    let (api, realm) = at("registry", registry.check_challenge().await)?;
    found("registry", format!("{api} answers"));
    match realm {
        Some(realm) => {
            let repository = image.map(|image| image.repository.clone());
            let accounts = at("token service", registry.tokens.check(repository).await)?;
            found("token service", format!("{realm} grants tokens to {accounts}"));
        }
        None => found("token service", "the registry needs no tokens".into()),
    }

    let Some(image) = image else { return Ok(()) };
    let (repository, reference) = (image.repository.clone(), image.reference.clone());
    let request = request(image, Operation::Manifest { repository, reference, method: Method::Head });
    let head = at("manifest", expect_ok(upstream.send(&request).await))?;
    found("manifest", format!("{image} is there"));
    let rate_limit = RateLimit::from_headers(&head.headers).map(|limit| describe(&limit));
    found("quota", rate_limit.unwrap_or_else(|| "the registry reports no limit".into()));

    let blob = at("manifest", small_blob(upstream, &request, head.public_proof).await)?;
    let length = at("CDN", read_blob(upstream, image, &blob).await)?;
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
    let (repository, digest) = (image.repository.clone(), blob.digest.clone());
    let request = request(image, Operation::Blob { repository, digest, method: Method::Get });
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

fn request(image: &ImageName, operation: Operation) -> Request {
    let mut headers = Headers::default();
    if let Ok(accept) = HeaderValue::try_from(MEDIA_TYPES.join(", ")) {
        headers.insert(header::ACCEPT, accept);
    }
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
