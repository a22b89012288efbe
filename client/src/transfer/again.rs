//! How the rest of a body is asked for, and which answers continue it.
//!
//! Must never take bytes of something else for the rest: status, `Content-Range` and length have to
//! be exactly what was asked for.

use super::span::{self, Span};
use crate::exchange::{Answer, TunnelBody};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::request::Request;
use http::{HeaderValue, StatusCode, header};
use std::ops::Range;

/// A request whose answer may be asked for in parts.
#[derive(Debug, Clone)]
pub(super) struct Again {
    pub(super) request: Request,
    content: Content,
}

/// What it was answered with.
#[derive(Debug, Clone)]
enum Content {
    /// Bytes of a blob of this length, which its digest names.
    Blob { total: u64 },
    /// A small body of this length, with the digest that the registry gave for it, if it did.
    Small { length: u64, digest: Option<HeaderValue> },
}

/// An answer that continues a body.
#[derive(Debug)]
pub(super) struct Continued {
    pub(super) body: TunnelBody,
    /// Bytes of it that come before those asked for.
    pub(super) skip: u64,
}

/// Why an answer doesn't.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The token isn't good any more.
    Unauthorized(Fault),
    /// Another attempt may do better.
    Passing(Fault),
    /// None would.
    Final(Fault),
}

impl Again {
    /// For a blob, of which `span` was answered.
    pub(super) fn blob(request: Request, span: &Span) -> Self {
        Self { request, content: Content::Blob { total: span.total } }
    }

    /// For a body that is short, and named by the registry if at all.
    pub(super) fn small(request: Request, headers: &Headers, length: u64) -> Self {
        let digest = headers.map().get(&DOCKER_CONTENT_DIGEST).cloned();
        Self { request, content: Content::Small { length, digest } }
    }

    /// Whether any part can be asked for.
    pub(super) const fn has_parts(&self) -> bool {
        matches!(self.content, Content::Blob { .. })
    }

    /// The request for these bytes.
    pub(super) fn request(&self, bytes: &Range<u64>) -> Request {
        let mut request = self.request.clone();
        // It has come, or is not missed.
        request.prefetch = None;
        if self.has_parts() {
            // The first answer has met them.
            request.headers.remove_conditional_fields();
            // A range would be one of the encoded bytes.
            request.headers.remove(&header::ACCEPT_ENCODING);
            request.headers.set(header::RANGE, span::header_of(bytes));
        }
        request
    }

    /// Whether an answer to that continues the body at these bytes.
    pub(super) fn check(&self, bytes: &Range<u64>, answer: Answer) -> Result<Continued, Refusal> {
        let Answer { status, headers, body, .. } = answer;
        let refusal = |detail: String| Fault::new(Hop::Registry, FaultKind::MalformedResponse, detail);
        if status == StatusCode::UNAUTHORIZED {
            return Err(Refusal::Unauthorized(refusal("the token for it is not good any more".into())));
        }
        if status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
        {
            return Err(Refusal::Passing(refusal(format!("asked for the rest, it says {status}"))));
        }
        let other = |status| {
            Refusal::Final(refusal(format!("asked for the rest, it sends something else ({status})")))
        };
        let length = body.length().ok_or_else(|| other(status))?;
        let skip = match &self.content {
            Content::Blob { total } => {
                let span = Span::of(status, &headers, length).ok_or_else(|| other(status))?;
                // All of it is what a registry or CDN sends that doesn't know ranges.
                if span.total != *total || (span.bytes != *bytes && !span.is_whole()) {
                    return Err(other(status));
                }
                bytes.start - span.bytes.start
            }
            Content::Small { length: before, digest } => {
                let same = digest.as_ref() == headers.map().get(&DOCKER_CONTENT_DIGEST)
                    && (digest.is_some() || bytes.start == 0);
                if status != StatusCode::OK || length != *before || !same {
                    return Err(other(status));
                }
                bytes.start
            }
        };
        Ok(Continued { body, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::authorization::Authorization;
    use docxy_protocol::name::Registry;
    use docxy_protocol::request::{Method, Operation};
    use http::{HeaderMap, HeaderName};

    fn headers(fields: &[(HeaderName, &str)]) -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value.parse().unwrap());
        }
        Headers::filter_response(&map)
    }

    fn request() -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in [
            (header::RANGE, "bytes=5-"),
            (header::IF_RANGE, "\"x\""),
            (header::ACCEPT_ENCODING, "gzip"),
            (header::USER_AGENT, "me"),
        ] {
            map.append(name, value.parse().unwrap());
        }
        Request {
            registry: Registry::docker_hub(),
            operation: Operation::Blob {
                repository: "a/b".parse().unwrap(),
                digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
                method: Method::Get,
            },
            authorization: Authorization::Public,
            headers: Headers::filter_request(&map),
            prefetch: None,
        }
    }

    fn blob() -> Again {
        Again::blob(request(), &Span { bytes: 5..100, total: 100 })
    }

    fn check(again: &Again, status: u16, fields: &[(HeaderName, &str)], length: u64) -> Result<u64, Refusal> {
        let status = StatusCode::from_u16(status).unwrap();
        let body = TunnelBody::of_length(length);
        let answer = Answer { status, headers: headers(fields), body, behind: None };
        again.check(&(20..30), answer).map(|continued| continued.skip)
    }

    #[test]
    fn a_hole_is_asked_for_without_the_conditions_of_the_first_request() {
        let asked = blob().request(&(20..30)).headers.into_map();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!(
            (&asked[header::RANGE], &asked[header::USER_AGENT]),
            (&"bytes=20-29".parse().unwrap(), &"me".parse().unwrap())
        );
    }

    #[test]
    fn only_exactly_what_was_asked_for_continues_a_blob() {
        let range = |text| [(header::CONTENT_RANGE, text)];
        let blob = blob();
        assert!(matches!(check(&blob, 206, &range("bytes 20-29/100"), 10), Ok(0)));
        assert!(matches!(check(&blob, 200, &[], 100), Ok(20)), "skipped forward");
        for (status, text, length) in [
            (206, "bytes 21-30/100", 10),
            (206, "bytes 20-29/101", 10),
            (206, "bytes 20-28/100", 9),
            (206, "bytes 20-29/*", 10),
            (206, "bytes 20-29/100", 11),
            (404, "", 10),
            (416, "bytes */100", 10),
        ] {
            let checked = check(&blob, status, &range(text), length);
            assert!(matches!(checked, Err(Refusal::Final(_))), "{status} {text}: {checked:?}");
        }
        assert!(matches!(check(&blob, 200, &[], 99), Err(Refusal::Final(_))));
        for status in [429, 500, 503] {
            assert!(matches!(check(&blob, status, &[], 3), Err(Refusal::Passing(_))));
        }
        assert!(matches!(check(&blob, 401, &[], 3), Err(Refusal::Unauthorized(_))));
    }

    #[test]
    fn a_manifest_goes_on_only_if_it_is_the_same() {
        let digest = |text| [(DOCKER_CONTENT_DIGEST.clone(), text)];
        let named = Again::small(request(), &headers(&digest("sha256:1")), 100);
        assert!(matches!(check(&named, 200, &digest("sha256:1"), 100), Ok(20)));
        for (fields, length) in [(digest("sha256:2"), 100), (digest("sha256:1"), 99)] {
            assert!(matches!(check(&named, 200, &fields, length), Err(Refusal::Final(_))));
        }
        let unnamed = Again::small(request(), &headers(&[]), 100);
        assert!(matches!(check(&unnamed, 200, &[], 100), Err(Refusal::Final(_))), "some of it was passed on");
        assert_eq!(unnamed.request(&(20..30)).headers, request().headers);
    }
}
