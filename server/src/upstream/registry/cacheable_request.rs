//! Requests whose responses serve several clients: shared by concurrent requests, or stored.
//!
//! They are built from an allow-list. Must never contain other header fields of one engine, above all a
//! condition or a range: the response would be for that engine, and all clients would get it.

use docxy_protocol::authorization::Authorization;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Reference, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderName, HeaderValue, header};

/// The header fields that are copied from an engine's request. A registry may choose the response by
/// `Accept`, so requests share a response only if their `Accept` is equal. No registry chooses by
/// `User-Agent`.
const COPIED_FIELDS: [HeaderName; 2] = [header::ACCEPT, header::USER_AGENT];

/// The shared form of `original`, for this manifest.
pub(crate) fn for_manifest(
    original: &Request,
    repository: &Repository,
    reference: &Reference,
    method: Method,
) -> Request {
    let mut headers = Headers::selected(&original.headers, &COPIED_FIELDS);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (repository, reference) = (repository.clone(), reference.clone());
    Request::new(original.registry.clone(), Operation::Manifest { repository, reference, method })
        .with_authorization(Authorization::Public)
        .with_headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::headers::CONDITIONAL_FIELDS;
    use docxy_protocol::secret::Secret;
    use http::HeaderMap;

    #[test]
    fn only_allowed_fields_are_copied() {
        let mut lines = HeaderMap::new();
        for accept in ["a/b", "c/d"] {
            lines.append(header::ACCEPT, HeaderValue::from_static(accept));
        }
        lines.insert(header::USER_AGENT, HeaderValue::from_static("docker/29"));
        lines.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for name in &CONDITIONAL_FIELDS {
            lines.insert(name, HeaderValue::from_static("x"));
        }
        let repository: Repository = "library/a".parse().unwrap();
        let reference: Reference = "latest".parse().unwrap();
        let original = Request::new("ghcr.io".parse().unwrap(), Operation::Ping)
            .with_authorization(Authorization::Bearer(Secret::new("t")))
            .with_headers(Headers::filter_request(&lines));
        let request = for_manifest(&original, &repository, &reference, Method::Head);
        assert_eq!((request.registry, request.authorization), (original.registry, Authorization::Public));
        let sent: Vec<_> = request.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        let expected = [
            ("accept", "a/b"),
            ("accept", "c/d"),
            ("user-agent", "docker/29"),
            ("accept-encoding", "identity"),
        ];
        assert_eq!(sent, expected);
    }
}
