//! Whether a registry can be pulled from, hop by hop, for an operator who wants to know.
//!
//! Goes the very ways that requests go, and never tells a token or a signed URL.

use super::quota::Quota;
use super::registry::Registry;
use super::{Answer, AnswerBody, Served, Upstream};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::manifest::{Descriptor, MEDIA_TYPES, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::text::{CleanText, clean};
use http::{HeaderValue, StatusCode, header};

/// What was found out about one hop: a remark, or what is wrong.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) what: &'static str,
    /// How it is.
    pub(crate) outcome: Result<CleanText, Fault>,
}

impl Upstream {
    /// Tries the way to the registry of this image. The first hop that fails ends it: what lies behind
    /// cannot be reached.
    pub(crate) async fn check(&self, image: &ImageName) -> Vec<Finding> {
        let mut findings = Vec::new();
        let tried = match self.served(&image.registry) {
            Ok(served) => try_hops(self, served, image, &mut findings).await,
            Err(fault) => Err(("registry", fault)),
        };
        if let Err((what, fault)) = tried {
            findings.push(Finding { what, outcome: Err(fault) });
        }
        findings
    }

    /// Tries registry and token service alone, where no image is known.
    pub(crate) async fn check_doorstep(&self, name: &docxy_protocol::name::Registry) -> Vec<Finding> {
        let mut findings = Vec::new();
        let tried = match self.served(name) {
            Ok(served) => try_doorstep(&served.registry, None, &mut findings).await,
            Err(fault) => Err(("registry", fault)),
        };
        if let Err((what, fault)) = tried {
            findings.push(Finding { what, outcome: Err(fault) });
        }
        findings
    }
}

type Tried<T> = Result<T, (&'static str, Fault)>;

async fn try_doorstep(
    registry: &Registry,
    image: Option<&ImageName>,
    findings: &mut Vec<Finding>,
) -> Tried<()> {
    let mut found = |what, text: String| findings.push(Finding { what, outcome: Ok(clean(text)) });
    let (api, realm) = registry.check_challenge().await.map_err(|fault| ("registry", fault))?;
    found("registry", format!("{api} answers"));
    let Some(realm) = realm else {
        found("token service", "the registry wants no tokens".into());
        return Ok(());
    };
    let repository = image.map(|image| image.repository.clone());
    let payers = registry.check_tokens(repository).await.map_err(|fault| ("token service", fault))?;
    found("token service", format!("{realm} grants tokens to {payers}"));
    Ok(())
}

async fn try_hops(
    upstream: &Upstream,
    served: &Served,
    image: &ImageName,
    findings: &mut Vec<Finding>,
) -> Tried<()> {
    try_doorstep(&served.registry, Some(image), findings).await?;
    let mut found = |what, text: String| findings.push(Finding { what, outcome: Ok(clean(text)) });
    let request = request(image, &image.reference, Method::Head);
    let head = expect_ok(upstream.ask(&request).await).map_err(|fault| ("manifest", fault))?;
    found("manifest", format!("{image} is there"));
    let quota = Quota::of(&head.headers).map(|quota| quota.in_words());
    found("quota", quota.unwrap_or_else(|| "the registry speaks of no limit".into()));
    let digest = head.headers.get_str(&DOCKER_CONTENT_DIGEST).and_then(|text| text.parse().ok());
    let blob = blob_of(upstream, &request, digest).await.map_err(|fault| ("manifest", fault))?;
    let bytes = read_blob(upstream, image, &blob).await.map_err(|fault| ("CDN", fault))?;
    found("CDN", format!("{bytes} bytes of {} came", blob.digest));
    Ok(())
}

/// The smallest thing that an image consists of: its config, as a rule.
async fn blob_of(
    upstream: &Upstream,
    request: &Request,
    digest: Option<Digest>,
) -> Result<Descriptor, Fault> {
    let mut wanted = digest.ok_or_else(|| nonsense("names no digest of the image's manifest"))?;
    // An index, and one of its images.
    for _ in 0..2 {
        let kept = upstream.manifest(request, &wanted, true).await;
        let kept = kept.ok_or_else(|| nonsense(format!("does not give the manifest {wanted}")))?;
        match Manifest::parse(&kept.bytes, kept.content_type()) {
            Ok(Manifest::Image(image)) => return Ok(image.config),
            Ok(Manifest::Index(entries)) => {
                let image =
                    entries.into_iter().next().ok_or_else(|| nonsense("names an index of nothing"))?;
                wanted = image.digest;
            }
            Err(error) => return Err(nonsense(format!("sends a manifest that is none: {error}"))),
        }
    }
    Err(nonsense("names an index of indexes"))
}

async fn read_blob(upstream: &Upstream, image: &ImageName, blob: &Descriptor) -> Result<usize, Fault> {
    let mut request = request(image, &image.reference, Method::Get);
    request.operation = Operation::Blob {
        repository: image.repository.clone(),
        digest: blob.digest.clone(),
        method: Method::Get,
    };
    let answer = expect_ok(upstream.ask(&request).await)?;
    let AnswerBody::Stream(mut download) = answer.body else { return Ok(0) };
    let mut bytes = 0;
    while let Some(chunk) = download.next().await? {
        bytes += chunk.len();
        if bytes > MANIFEST_MAX {
            break;
        }
    }
    Ok(bytes)
}

fn request(image: &ImageName, reference: &Reference, method: Method) -> Request {
    let mut headers = Headers::default();
    if let Ok(accept) = HeaderValue::try_from(MEDIA_TYPES.join(", ")) {
        headers.set(header::ACCEPT, accept);
    }
    let repository = image.repository.clone();
    Request {
        registry: image.registry.clone(),
        operation: Operation::Manifest { repository, reference: reference.clone(), method },
        authorization: Authorization::Public,
        headers,
        prefetch: None,
    }
}

fn expect_ok(answer: Result<Answer, Fault>) -> Result<Answer, Fault> {
    let answer = answer?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        status => Err(nonsense(format!("answers {status}"))),
    }
}

fn nonsense(detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Registry, FaultKind::MalformedResponse, detail)
}
