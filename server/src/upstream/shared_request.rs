//! Requests whose answers are for more than one asker: shared by those who wait for them, kept, or the
//! ground on which others are served.
//!
//! They are built from an allow-list. Nothing else of what one engine says may be in them, a condition
//! or a range above all: the registry would answer that engine, and everybody would get its answer.

use docxy_protocol::authorization::Authorization;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Reference, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderName, HeaderValue, header};

/// What may be taken over from an engine. A registry may choose by `Accept`, so whoever shares an answer
/// has to have sent the same one; `User-Agent` says who asks, and no registry chooses by it.
const ALLOWED: [HeaderName; 2] = [header::ACCEPT, header::USER_AGENT];

/// The request for a manifest that stands for all who ask for it as `asked` does.
pub(super) fn for_manifest(
    asked: &Request,
    repository: &Repository,
    reference: &Reference,
    method: Method,
) -> Request {
    let mut headers = Headers::default();
    for name in &ALLOWED {
        for value in asked.headers.map().get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.set(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (repository, reference) = (repository.clone(), reference.clone());
    Request {
        registry: asked.registry.clone(),
        operation: Operation::Manifest { repository, reference, method },
        authorization: Authorization::Public,
        headers,
        prefetch: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::headers::CONDITIONAL_FIELDS;
    use docxy_protocol::secret::Secret;
    use http::HeaderMap;

    #[test]
    fn only_what_is_allowed_is_taken_over() {
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
        let asked = Request {
            registry: "ghcr.io".parse().unwrap(),
            operation: Operation::Ping,
            authorization: Authorization::Bearer(Secret::new("t")),
            headers: Headers::filter_request(&lines),
            prefetch: None,
        };
        let request = for_manifest(&asked, &repository, &reference, Method::Head);
        assert_eq!((request.registry, request.authorization), (asked.registry, Authorization::Public));
        let sent: Vec<_> =
            request.headers.map().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        let expected = [
            ("accept", "a/b"),
            ("accept", "c/d"),
            ("user-agent", "docker/29"),
            ("accept-encoding", "identity"),
        ];
        assert_eq!(sent, expected);
    }
}
