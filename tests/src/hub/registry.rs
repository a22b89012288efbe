//! The registry API as `registry-1.docker.io` answers it: pull, tags, referrers.
//! It believes tokens alone, and sends no blob byte itself: those come from the CDN.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    World,
    blob::Digest,
    fault::Fault,
    image::{Manifest, descriptor, media_type},
    limit::Payer,
    negotiation::{Choice, choose},
    reply::{Body, empty, error, json, reply, set, text},
    route::{NoRoute, Route},
    token::{Grant, unix_now},
};

pub(super) fn answer<B>(world: &World, peer: IpAddr, request: &Request<B>) -> Response<Body> {
    let mut response = route(world, peer, request);
    set(&mut response, "docker-distribution-api-version", "registry/2.0");
    response
}

fn route<B>(world: &World, peer: IpAddr, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    let route = match Route::parse(path) {
        Ok(route) => route,
        Err(NoRoute::Unknown) => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Err(NoRoute::BadName) => {
            return error(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name", Value::Null);
        }
        Err(NoRoute::BadDigest) => {
            let message = "provided digest did not match uploaded content";
            return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message, Value::Null);
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "The operation is unsupported.";
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message, Value::Null);
    }
    let grant = match authorize(world, request, &route) {
        Ok(grant) => grant,
        Err(reason) => return challenge(world, path, route.repository(), &reason),
    };
    if world.faults.take(path, |fault| *fault == Fault::AbuseLimit).is_some() {
        return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
    }
    let query = request.uri().query().unwrap_or_default();
    match route {
        Route::Ping => json(StatusCode::OK, &json!({})),
        Route::Manifest { repository, reference } => {
            manifest(world, &payer(grant, peer), request, repository, reference)
        }
        Route::Blob { repository, digest } => blob(world, path, repository, &digest),
        Route::Tags { repository } => tags(world, path, query, repository),
        Route::Referrers { repository, subject } => referrers(world, query, repository, &subject),
    }
}

/// What the request's token grants.
fn authorize<B>(world: &World, request: &Request<B>, route: &Route<'_>) -> Result<Grant, NoGrant> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Err(NoGrant::NoToken) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let grant = world.tokens.verify(token).map_err(|_| NoGrant::InvalidToken)?;
    if world.faults.take(request.uri().path(), |fault| *fault == Fault::InvalidToken).is_some() {
        return Err(NoGrant::InvalidToken);
    }
    match route.repository() {
        Some(repository) if !grant.allows("pull", repository) => Err(NoGrant::InsufficientScope),
        _ => Ok(grant),
    }
}

/// Why a request is challenged.
enum NoGrant {
    NoToken,
    InvalidToken,
    InsufficientScope,
}

/// `WWW-Authenticate` lines that replace the registry's own.
#[derive(Default)]
pub(super) struct Challenges(Mutex<Vec<(String, Vec<String>)>>);

impl Challenges {
    /// Sets the lines for paths that contain `part`.
    pub(super) fn set(&self, part: &str, lines: &[&str]) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _)| of != part);
        all.push((part.to_owned(), lines));
    }

    fn of(&self, path: &str) -> Option<Vec<String>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(part, _)| path.contains(part)).map(|(_, lines)| lines.clone())
    }
}

fn challenge(world: &World, path: &str, repository: Option<&str>, reason: &NoGrant) -> Response<Body> {
    let mut value = format!("Bearer realm=\"{}\",service=\"{}\"", world.names.realm(), world.names.service);
    let mut detail = Value::Null;
    if let Some(repository) = repository {
        value.push_str(&format!(",scope=\"repository:{repository}:pull\""));
        detail = json!([{ "Type": "repository", "Class": "", "Name": repository, "Action": "pull" }]);
    }
    value.push_str(match reason {
        NoGrant::NoToken => "",
        NoGrant::InvalidToken => ",error=\"invalid_token\"",
        NoGrant::InsufficientScope => ",error=\"insufficient_scope\"",
    });
    let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required", detail);
    for line in world.challenges.of(path).unwrap_or_else(|| vec![value]) {
        if let Ok(line) = line.try_into() {
            response.headers_mut().append(header::WWW_AUTHENTICATE, line);
        }
    }
    response
}

fn payer(grant: Grant, peer: IpAddr) -> Payer {
    match grant.account {
        Some(name) => Payer { name, anonymous: false },
        None => Payer { name: peer.to_string(), anonymous: true },
    }
}

fn manifest<B>(
    world: &World,
    payer: &Payer,
    request: &Request<B>,
    repository: &str,
    reference: &str,
) -> Response<Body> {
    let path = request.uri().path();
    let charge = u32::from(*request.method() == Method::GET);
    let quota = world.meter.charge(payer, charge);
    let limited = world.faults.take(path, |fault| *fault == Fault::PullLimit).is_some();
    let mut response = if limited || quota.as_ref().is_some_and(|quota| quota.exhausted) {
        let message = "You have reached your pull rate limit. You may increase the limit by authenticating and \
                       upgrading: https://www.docker.com/increase-rate-limit";
        error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message, Value::Null)
    } else {
        found_manifest(world, request, repository, reference)
    };
    if let Some(quota) = quota {
        quota.write(response.headers_mut());
    }
    if response.status() == StatusCode::OK
        && world.faults.take(path, |fault| *fault == Fault::NoLength).is_some()
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response = response.map(super::reply::of_unknown_length);
    }
    response
}

fn found_manifest<B>(
    world: &World,
    request: &Request<B>,
    repository: &str,
    reference: &str,
) -> Response<Body> {
    let headers = request.headers();
    let by_tag = Digest::parse(reference).is_none();
    let unknown = |message: &str| {
        let detail = if by_tag { json!({ "Tag": reference }) } else { json!({ "Digest": reference }) };
        error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message, detail)
    };
    let Some(mut manifest) = world.store.manifest(repository, reference) else {
        return unknown("manifest unknown");
    };
    match choose(headers, &manifest, by_tag) {
        Choice::AsStored => {}
        Choice::DefaultPlatform(digest) => match world.store.manifest(repository, &digest) {
            Some(platform) => manifest = platform,
            None => return unknown("manifest unknown"),
        },
        Choice::NotAcceptable(message) => return unknown(message),
    }
    let etag = format!("\"{}\"", manifest.digest);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|tags| tags == "*" || tags.contains(manifest.digest.as_str())) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut bytes = manifest.bytes.to_vec();
        let path = request.uri().path();
        if *request.method() == Method::GET
            && world.faults.take(path, |fault| *fault == Fault::CorruptManifest).is_some()
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        reply(StatusCode::OK, manifest.media_type, bytes)
    };
    set(&mut response, "docker-content-digest", manifest.digest.as_str());
    set(&mut response, "etag", &etag);
    response
}

fn blob(world: &World, path: &str, repository: &str, digest: &Digest) -> Response<Body> {
    if world.store.blob(repository, digest).is_none() {
        let detail = json!({ "digest": digest.as_str() });
        return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry", detail);
    }
    let expired = world.faults.take(path, |fault| *fault == Fault::ExpiredUrl).is_some();
    let expires = if expired { unix_now() - 1 } else { unix_now() + world.url_lifetime.as_secs() };
    let location = format!("https://{}{}", world.names.cdn, world.urls.sign(digest, expires));
    let link = location.replace('&', "&amp;");
    let body = format!("<a href=\"{link}\">Temporary Redirect</a>.\n\n");
    let mut response = reply(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", body);
    set(&mut response, "location", &location);
    response
}

fn tags(world: &World, path: &str, query: &str, repository: &str) -> Response<Body> {
    let Some(all) = world.store.tags(repository) else {
        let detail = json!({ "name": repository });
        return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry", detail);
    };
    let last = field(query, "last").unwrap_or_default();
    let rest: Vec<_> = all.into_iter().filter(|tag| *tag > last).collect();
    let page_size = field(query, "n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let page = &rest[..rest.len().min(page_size)];
    let mut response = json(StatusCode::OK, &json!({ "name": repository, "tags": page }));
    if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
        let base =
            if world.absolute_links { format!("https://{}", world.names.registry) } else { String::new() };
        let link = format!("<{base}{path}?last={last}&n={page_size}>; rel=\"next\"");
        set(&mut response, "link", &link);
    }
    response
}

fn referrers(world: &World, query: &str, repository: &str, subject: &Digest) -> Response<Body> {
    let wanted = field(query, "artifactType");
    let all = world.store.referrers(repository, subject).into_iter();
    let entries =
        all.filter(|artifact| wanted.as_ref().is_none_or(|wanted| artifact.artifact_type == *wanted));
    let entries = entries.map(|artifact| {
        let Manifest { media_type, bytes, digest } = &artifact.manifest;
        let mut entry = descriptor(media_type, digest, bytes.len() as u64);
        entry["artifactType"] = json!(artifact.artifact_type);
        entry
    });
    let entries: Vec<_> = entries.collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    let mut response = reply(StatusCode::OK, media_type::OCI_INDEX, index.to_string());
    if wanted.is_some() {
        set(&mut response, "oci-filters-applied", "artifactType");
    }
    response
}

fn field(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
