//! Answers made from what is known, as the registry itself would give them.
//!
//! What cannot be answered exactly is left to the registry.

use super::Known;
use super::kept::{Home, Kept, Key};
use bytes::Bytes;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::name::Reference;
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// A registry's 401.
pub(super) fn refusal(challenges: &[Challenge], method: Method) -> Option<Known> {
    let status = StatusCode::UNAUTHORIZED;
    let body = error_body::from_upstream(status, b"authentication required", "");
    let mut headers = HeaderMap::from_iter([API_VERSION]);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    for challenge in challenges {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(&challenge.to_string()).ok()?);
    }
    Some(known(status, headers, method, body.into()))
}

/// The content that a request is for, where that may be answered from here.
pub(super) fn key(request: &Request) -> Option<Key> {
    let digest = match &request.operation {
        Operation::Manifest { reference: Reference::Digest(digest), .. } | Operation::Blob { digest, .. } => {
            digest.clone()
        }
        _ => return None,
    };
    if request.headers.is_conditional() {
        return None;
    }
    Some(Key { home: Home::of(request)?, digest })
}

/// A registry's 200 with this content, if that is what the request is for.
pub(super) fn content(request: &Request, kept: &Kept) -> Option<Known> {
    let mut headers = HeaderMap::from_iter([API_VERSION]);
    match (&request.operation, kept.content()) {
        (Operation::Manifest { .. }, ContentKind::Manifest { content_type }) => {
            if !accepts(&request.headers, content_type) {
                return None;
            }
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).ok()?);
        }
        (Operation::Blob { .. }, ContentKind::Blob) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            // Which then goes to the registry.
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        _ => return None,
    }
    let digest = kept.digest();
    headers.insert(&DOCKER_CONTENT_DIGEST, HeaderValue::from_str(digest.as_str()).ok()?);
    headers.insert(header::ETAG, HeaderValue::from_str(&format!("\"{digest}\"")).ok()?);
    Some(known(StatusCode::OK, headers, request.operation.method(), kept.bytes().clone()))
}

fn known(status: StatusCode, mut headers: HeaderMap, method: Method, body: Bytes) -> Known {
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let body = if method == Method::Head { Bytes::new() } else { body };
    Known { status, headers: Headers::filter_response(&headers), body }
}

/// Whether an engine takes this media type (RFC 9110, section 12.5.1). Registries look no closer.
fn accepts(headers: &Headers, content_type: &str) -> bool {
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let wanted = essence(content_type);
    let mut lines = headers.map().get_all(header::ACCEPT).iter().peekable();
    lines.peek().is_none()
        || lines
            .flat_map(|line| line.to_str().unwrap_or_default().split(','))
            .map(essence)
            .any(|accepted| accepted == wanted || accepted == "*/*" || accepted == "application/*")
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, manifest};
    use super::*;
    use docxy_protocol::authorization::Authorization;
    use docxy_protocol::headers::CONDITIONAL_FIELDS;
    use docxy_protocol::name::Registry;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn request(kept: &Kept, method: Method, fields: &[(HeaderName, &str)]) -> Request {
        let repository = "library/alpine".parse().unwrap();
        let operation = match kept.content() {
            ContentKind::Blob => Operation::Blob { repository, digest: kept.digest().clone(), method },
            ContentKind::Manifest { .. } => {
                let reference = Reference::Digest(kept.digest().clone());
                Operation::Manifest { repository, reference, method }
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        let headers = Headers::filter_request(&headers);
        let registry = Registry::docker_hub();
        Request { registry, operation, authorization: Authorization::Public, headers, prefetch: None }
    }

    #[test]
    fn a_manifest_comes_with_the_headers_that_engines_need() {
        let kept = manifest(INDEX, b"{}");
        for (method, body) in [(Method::Get, &b"{}"[..]), (Method::Head, b"")] {
            let answer = content(&request(&kept, method, &[]), &kept).unwrap();
            let text = |name: &HeaderName| answer.headers.get_str(name).unwrap().to_owned();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, body));
            assert_eq!(
                (text(&header::CONTENT_TYPE).as_str(), text(&header::CONTENT_LENGTH).as_str()),
                (INDEX, "2")
            );
            assert_eq!(text(&DOCKER_CONTENT_DIGEST), kept.digest().as_str());
            assert_eq!(text(&header::ETAG), format!("\"{}\"", kept.digest()));
        }
    }

    #[test]
    fn what_is_asked_for_in_another_way_is_left_to_the_registry() {
        let (kept, config) = (manifest(INDEX, b"{}"), blob(b"config"));
        for fields in [
            &[][..],
            &[(header::ACCEPT, "text/html, application/vnd.oci.image.index.v1+json;q=0.9")],
            &[(header::ACCEPT, "text/html"), (header::ACCEPT, "*/*")],
        ] {
            let request = request(&kept, Method::Get, fields);
            assert!(key(&request).is_some() && content(&request, &kept).is_some(), "{fields:?}");
        }
        let docker = [(header::ACCEPT, "application/vnd.docker.distribution.manifest.v2+json")];
        assert!(content(&request(&kept, Method::Get, &docker), &kept).is_none());
        for name in &CONDITIONAL_FIELDS {
            assert!(key(&request(&config, Method::Get, &[(name.clone(), "\"x\"")])).is_none());
        }
        assert!(content(&request(&kept, Method::Get, &[]), &config).is_none());
        assert!(content(&request(&config, Method::Get, &[]), &kept).is_none());
    }

    #[test]
    fn a_refusal_is_the_registrys() {
        let challenge = Challenge::bearer("r", "s");
        let answer = refusal(&[challenge.clone(), challenge.clone()], Method::Get).unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let lines: Vec<_> = answer.headers.map().get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(lines, [challenge.to_string().as_str(); 2]);
        assert!(answer.body.starts_with(br#"{"errors":[{"code":"UNAUTHORIZED""#));
        assert!(refusal(&[challenge], Method::Head).unwrap().body.is_empty());
    }
}
