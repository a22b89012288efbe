//! Responses made from cached content, as the registry would send them.
//!
//! A request that the cache cannot answer exactly goes to the registry.

use super::content_cache::CacheEntry;
use bytes::Bytes;
use docxy_host::store::{Key, Scope};
use docxy_protocol::accept::accepts;
use docxy_protocol::headers::DOCKER_CONTENT_DIGEST;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// A response that the client sends in place of the registry: with these fields, an API version and a length.
/// Without its body if that answers `HEAD`.
pub(crate) fn in_place_of_registry(
    status: StatusCode,
    headers: HeaderMap,
    method: Method,
    body: Bytes,
) -> Response<Bytes> {
    let length = body.len();
    let mut response = Response::new(if method == Method::Head { Bytes::new() } else { body });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let (name, version) = API_VERSION;
    response.headers_mut().insert(name, version);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// The key of the requested content, if the cache may answer the request.
pub(crate) fn key(request: &Request) -> Option<Key> {
    let digest = match &request.operation {
        Operation::Manifest { reference: Reference::Digest(digest), .. } | Operation::Blob { digest, .. } => {
            digest.clone()
        }
        _ => return None,
    };
    if request.headers.is_conditional() {
        return None;
    }
    Some(Key { scope: Scope::of(request)?, digest })
}

/// The 200 of a registry with this content, if it is what was requested.
pub(crate) fn content(request: &Request, entry: &CacheEntry) -> Option<Response<Bytes>> {
    let mut headers = HeaderMap::new();
    match (&request.operation, entry.head()) {
        (Operation::Manifest { .. }, ContentKind::Manifest { content_type }) => {
            if !accepts(&request.headers, content_type) {
                return None;
            }
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).ok()?);
        }
        // A range request then goes to the registry.
        (Operation::Blob { .. }, ContentKind::Blob) => insert_blob_fields(&mut headers),
        _ => return None,
    }
    insert_digest(&mut headers, entry.digest());
    let method = request.operation.method();
    Some(in_place_of_registry(StatusCode::OK, headers, method, entry.bytes().clone()))
}

/// The fields of a blob that a request is for, as a registry sends them, without its length.
pub(crate) fn blob_headers(request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([API_VERSION]);
    insert_blob_fields(&mut headers);
    if let Operation::Blob { digest, .. } = &request.operation {
        insert_digest(&mut headers, digest);
    }
    headers
}

fn insert_blob_fields(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

fn insert_digest(headers: &mut HeaderMap, digest: &Digest) {
    // A digest has letters, digits and a few marks, which are a valid value.
    let etag = HeaderValue::from_str(&format!("\"{digest}\"")).map(|etag| (header::ETAG, etag));
    let digest = HeaderValue::from_str(digest.as_str()).map(|digest| (DOCKER_CONTENT_DIGEST.clone(), digest));
    headers.extend([etag, digest].into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::super::entry_tests::{blob, manifest};
    use super::*;
    use docxy_protocol::authorization::Authorization;
    use docxy_protocol::headers::{CONDITIONAL_FIELDS, Headers};
    use docxy_protocol::name::Registry;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn request(entry: &CacheEntry, method: Method, fields: &[(HeaderName, &str)]) -> Request {
        let repository = "library/alpine".parse().unwrap();
        let operation = match entry.head() {
            ContentKind::Blob => Operation::Blob { repository, digest: entry.digest().clone(), method },
            ContentKind::Manifest { .. } => {
                let reference = Reference::Digest(entry.digest().clone());
                Operation::Manifest { repository, reference, method }
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        Request::new(Registry::docker_hub(), operation)
            .with_authorization(Authorization::Public)
            .with_headers(Headers::filter_request(&headers))
    }

    #[test]
    fn a_manifest_has_the_headers_that_engines_need() {
        let entry = manifest(INDEX, b"{}");
        for (method, body) in [(Method::Get, &b"{}"[..]), (Method::Head, b"")] {
            let answer = content(&request(&entry, method, &[]), &entry).unwrap();
            let text = |name: &HeaderName| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, body));
            assert_eq!(
                (text(&header::CONTENT_TYPE).as_str(), text(&header::CONTENT_LENGTH).as_str()),
                (INDEX, "2")
            );
            assert_eq!(text(&DOCKER_CONTENT_DIGEST), entry.digest().as_str());
            assert_eq!(text(&header::ETAG), format!("\"{}\"", entry.digest()));
        }
    }

    #[test]
    fn other_requests_go_to_the_registry() {
        let (entry, config) = (manifest(INDEX, b"{}"), blob(b"config"));
        for fields in [
            &[][..],
            &[(header::ACCEPT, "text/html, application/vnd.oci.image.index.v1+json;q=0.9")],
            &[(header::ACCEPT, "text/html"), (header::ACCEPT, "*/*")],
        ] {
            let request = request(&entry, Method::Get, fields);
            assert!(key(&request).is_some() && content(&request, &entry).is_some(), "{fields:?}");
        }
        let docker = [(header::ACCEPT, "application/vnd.docker.distribution.manifest.v2+json")];
        assert!(content(&request(&entry, Method::Get, &docker), &entry).is_none());
        for name in &CONDITIONAL_FIELDS {
            assert!(key(&request(&config, Method::Get, &[(name.clone(), "\"x\"")])).is_none());
        }
        assert!(content(&request(&entry, Method::Get, &[]), &config).is_none());
        assert!(content(&request(&config, Method::Get, &[]), &entry).is_none());
    }
}
