//! The registry API as `registry-1.docker.io` answers it: pull, tags, referrers.
//! Must never send a byte of a blob, which the CDN does, nor accept credentials other than tokens.

use std::net::IpAddr;

use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    content::{
        blob::Digest,
        image::{Manifest, descriptor, media_type},
    },
    http::{
        negotiation::{Negotiated, negotiate},
        response::{Body, empty, error, json, set_header, text, with_body},
        route::{Route, RouteError},
    },
    service::{
        rate_limit::QuotaAccount,
        token::{Grant, unix_now},
    },
    state::HubState,
    steering::{fault::Fault, site::Kind},
};

/// A redirect to the same path at the CDN's host, which then answers in the registry's place.
pub(crate) fn redirect<B>(hub: &HubState, request: &Request<B>) -> Response<Body> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    set_header(&mut response, "location", &format!("https://{}{}", hub.names.cdn, request.uri()));
    response
}

pub(crate) fn handle<B>(hub: &HubState, peer: IpAddr, request: &Request<B>) -> Response<Body> {
    let mut response = route(hub, peer, request);
    set_header(&mut response, "docker-distribution-api-version", "registry/2.0");
    response
}

fn route<B>(hub: &HubState, peer: IpAddr, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    let route = match Route::parse(path) {
        Ok(route) => route,
        Err(RouteError::Unknown) => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Err(RouteError::InvalidName) => {
            return error(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name", Value::Null);
        }
        Err(RouteError::InvalidDigest) => {
            let message = "provided digest did not match uploaded content";
            return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message, Value::Null);
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "The operation is unsupported.";
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message, Value::Null);
    }
    let grant = match authorize(hub, request, &route) {
        Ok(grant) => grant,
        Err(reason) => return challenge(hub, path, route.repository(), &reason),
    };
    if hub.faults.take(path, |fault| *fault == Fault::AbuseLimit).is_some() {
        return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
    }
    let query = request.uri().query().unwrap_or_default();
    match route {
        Route::Ping => json(StatusCode::OK, &json!({})),
        Route::Manifest { repository, reference } => {
            manifest(hub, &account(grant, peer), request, repository, reference)
        }
        Route::Blob { repository, digest } => blob(hub, path, repository, &digest),
        Route::Tags { repository } => tags(hub, path, query, repository),
        Route::Referrers { repository, subject } => referrers(hub, query, repository, &subject),
    }
}

/// The grant of the request's token.
fn authorize<B>(hub: &HubState, request: &Request<B>, route: &Route<'_>) -> Result<Grant, AuthError> {
    if matches!(hub.kind, Kind::NoAuth | Kind::Redirecting) {
        return Ok(Grant::default());
    }
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Err(AuthError::NoToken) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let grant = hub.tokens.verify(token).map_err(|_| AuthError::InvalidToken)?;
    if hub.faults.take(request.uri().path(), |fault| *fault == Fault::InvalidToken).is_some() {
        return Err(AuthError::InvalidToken);
    }
    match route.repository() {
        Some(repository) if !grant.allows("pull", repository) => Err(AuthError::InsufficientScope),
        _ => Ok(grant),
    }
}

/// Why a request gets a challenge.
enum AuthError {
    NoToken,
    InvalidToken,
    InsufficientScope,
}

fn challenge(hub: &HubState, path: &str, repository: Option<&str>, reason: &AuthError) -> Response<Body> {
    let mut value =
        format!("Bearer realm=\"{}\",service=\"{}\"", hub.names.realm(hub.kind), hub.names.service);
    let mut detail = Value::Null;
    if let Some(repository) = repository {
        value.push_str(&format!(",scope=\"repository:{repository}:pull\""));
        detail = json!([{ "Type": "repository", "Class": "", "Name": repository, "Action": "pull" }]);
    }
    value.push_str(match reason {
        AuthError::NoToken => "",
        AuthError::InvalidToken => ",error=\"invalid_token\"",
        AuthError::InsufficientScope => ",error=\"insufficient_scope\"",
    });
    let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required", detail);
    for line in hub.challenges.of(path).unwrap_or_else(|| vec![value]) {
        if let Ok(line) = line.try_into() {
            response.headers_mut().append(header::WWW_AUTHENTICATE, line);
        }
    }
    response
}

fn account(grant: Grant, peer: IpAddr) -> QuotaAccount {
    match grant.account {
        Some(name) => QuotaAccount { name, anonymous: false },
        None => QuotaAccount { name: peer.to_string(), anonymous: true },
    }
}

fn manifest<B>(
    hub: &HubState,
    account: &QuotaAccount,
    request: &Request<B>,
    repository: &str,
    reference: &str,
) -> Response<Body> {
    let path = request.uri().path();
    let pulls = u32::from(*request.method() == Method::GET);
    let quota = hub.pulls.charge(account, pulls);
    let limited = hub.faults.take(path, |fault| *fault == Fault::PullLimit).is_some();
    let mut response = if limited || quota.as_ref().is_some_and(|quota| quota.exhausted) {
        let message = "You have reached your pull rate limit. You may increase the limit by authenticating and \
                       upgrading: https://www.docker.com/increase-rate-limit";
        error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message, Value::Null)
    } else {
        found_manifest(hub, request, repository, reference)
    };
    if let Some(quota) = quota {
        quota.write(response.headers_mut());
    }
    if response.status() == StatusCode::OK
        && hub.faults.take(path, |fault| *fault == Fault::NoLength).is_some()
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response = response.map(crate::http::response::without_length);
    }
    response
}

fn found_manifest<B>(
    hub: &HubState,
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
    let Some(mut manifest) = hub.store.manifest(repository, reference) else {
        return unknown("manifest unknown");
    };
    match negotiate(headers, &manifest, by_tag) {
        Negotiated::AsStored => {}
        Negotiated::DefaultPlatform(digest) => match hub.store.manifest(repository, &digest) {
            Some(platform) => manifest = platform,
            None => return unknown("manifest unknown"),
        },
        Negotiated::NotAcceptable(message) => return unknown(message),
    }
    let etag = format!("\"{}\"", manifest.digest);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|tags| tags == "*" || tags.contains(manifest.digest.as_str())) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut bytes = manifest.bytes.to_vec();
        let path = request.uri().path();
        if *request.method() == Method::GET
            && hub.faults.take(path, |fault| *fault == Fault::CorruptManifest).is_some()
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        with_body(StatusCode::OK, manifest.media_type, bytes)
    };
    set_header(&mut response, "docker-content-digest", manifest.digest.as_str());
    set_header(&mut response, "etag", &etag);
    response
}

fn blob(hub: &HubState, path: &str, repository: &str, digest: &Digest) -> Response<Body> {
    if hub.store.blob(repository, digest).is_none() {
        let detail = json!({ "digest": digest.as_str() });
        return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry", detail);
    }
    let expired = hub.faults.take(path, |fault| *fault == Fault::ExpiredUrl).is_some();
    let expires = if expired { unix_now() - 1 } else { unix_now() + hub.url_lifetime.as_secs() };
    let location = format!("https://{}{}", hub.names.cdn, hub.urls.sign(digest, expires));
    let link = location.replace('&', "&amp;");
    let body = format!("<a href=\"{link}\">Temporary Redirect</a>.\n\n");
    let mut response = with_body(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", body);
    set_header(&mut response, "location", &location);
    response
}

fn tags(hub: &HubState, path: &str, query: &str, repository: &str) -> Response<Body> {
    let Some(all) = hub.store.tags(repository) else {
        let detail = json!({ "name": repository });
        return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry", detail);
    };
    let last = field(query, "last").unwrap_or_default();
    let rest: Vec<_> = all.into_iter().filter(|tag| *tag > last).collect();
    let page_size = field(query, "n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let page = &rest[..rest.len().min(page_size)];
    let mut response = json(StatusCode::OK, &json!({ "name": repository, "tags": page }));
    if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
        let base = if hub.absolute_links { format!("https://{}", hub.names.registry) } else { String::new() };
        let link = format!("<{base}{path}?last={last}&n={page_size}>; rel=\"next\"");
        set_header(&mut response, "link", &link);
    }
    response
}

fn referrers(hub: &HubState, query: &str, repository: &str, subject: &Digest) -> Response<Body> {
    let artifact_type = field(query, "artifactType");
    let all = hub.store.referrers(repository, subject).into_iter();
    let entries = all
        .filter(|artifact| artifact_type.as_ref().is_none_or(|expected| artifact.artifact_type == *expected));
    let entries = entries.map(|artifact| {
        let Manifest { media_type, bytes, digest } = &artifact.manifest;
        let mut entry = descriptor(media_type, digest, bytes.len() as u64);
        entry["artifactType"] = json!(artifact.artifact_type);
        entry
    });
    let entries: Vec<_> = entries.collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    let mut response = with_body(StatusCode::OK, media_type::OCI_INDEX, index.to_string());
    if artifact_type.is_some() {
        set_header(&mut response, "oci-filters-applied", "artifactType");
    }
    response
}

fn field(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
