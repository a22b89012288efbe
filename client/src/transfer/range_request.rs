//! Requests the rest of a body, and checks which responses continue it.
//!
//! Must never accept other bytes as the rest: status, `Content-Range` and length must be exactly as
//! requested.

use crate::exchange::{ExchangeError, RemoteBody, Response};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::PATIENCE_MAX;
use docxy_protocol::patience::Patience;
use docxy_protocol::request::Request;
use http::{HeaderValue, StatusCode, header};
use std::ops::Range;

/// A request whose body can be requested in ranges.
#[derive(Debug, Clone)]
pub(crate) struct RangeRequest {
    pub(super) request: Request,
    content: RequestedContent,
}

/// The content of its first response.
#[derive(Debug, Clone)]
enum RequestedContent {
    /// A blob of this length, identified by its digest.
    Blob { total: Option<u64> },
    /// A small body of this length, with the digest that the registry reported, if any.
    Small { length: u64, digest: Option<HeaderValue> },
}

/// A response that continues a body.
#[derive(Debug)]
pub(crate) struct Continuation {
    pub(super) body: RemoteBody,
    /// The bytes of it before the requested ones.
    pub(super) skip: u64,
}

impl RangeRequest {
    /// The request for a blob of this length, if that is known.
    pub(crate) const fn blob(request: Request, total: Option<u64>) -> Self {
        Self { request, content: RequestedContent::Blob { total } }
    }

    /// The request for a small body.
    pub(super) fn small(request: Request, headers: &Headers, length: u64) -> Self {
        let digest = headers.get(&DOCKER_CONTENT_DIGEST).cloned();
        Self { request, content: RequestedContent::Small { length, digest } }
    }

    /// Whether ranges can be requested.
    pub(super) const fn supports_ranges(&self) -> bool {
        matches!(self.content, RequestedContent::Blob { .. })
    }

    /// The request for these bytes.
    pub(crate) fn request(&self, bytes: &Range<u64>) -> Request {
        let mut request = self.request.clone();
        // The content was prefetched after the first response, or is not needed.
        request.prefetch = None;
        // The engine has its response head, and waits for bytes as long as this transfer does.
        request.patience = Patience::new(PATIENCE_MAX);
        if let RequestedContent::Blob { total } = self.content
            && let Some(wanted) = ContentRange::new(bytes.clone(), total)
        {
            // The first response fulfilled them.
            request.headers.remove_conditional_fields();
            // The range would be one of the encoded bytes.
            request.headers.remove(&header::ACCEPT_ENCODING);
            request.headers.remove(&header::RANGE);
            if !wanted.is_whole() {
                request.headers.insert(header::RANGE, wanted.to_range());
            }
        }
        request
    }

    /// Checks that a response continues the body with these bytes.
    pub(super) fn check(
        &self,
        bytes: &Range<u64>,
        response: Response,
    ) -> Result<Continuation, ExchangeError> {
        let Response { status, headers, body, .. } = response;
        if !status.is_success() {
            let detail = format!("the registry responded {status}");
            // Some registries answer 400 or 403 to a token that has expired.
            let may_have_expired = matches!(status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN)
                && matches!(self.request.authorization, Authorization::Bearer(_));
            let kind =
                if may_have_expired { FaultKind::CredentialExpired } else { FaultKind::of_status(status) };
            return Err(Fault::new(Hop::Registry, kind, detail).into());
        }
        let skip = match &self.content {
            RequestedContent::Blob { total } => {
                let found = ContentRange::of_response(status, &headers, body.length());
                let wanted = ContentRange::new(bytes.clone(), *total);
                // Without a length the end of the body could not be checked.
                found.filter(|_| body.length().is_some()).and_then(|found| found.bytes_before(&wanted?))
            }
            RequestedContent::Small { length, digest } => {
                let same = digest.as_ref() == headers.get(&DOCKER_CONTENT_DIGEST)
                    && (digest.is_some() || bytes.start == 0);
                (status == StatusCode::OK && body.length() == Some(*length) && same).then_some(bytes.start)
            }
        };
        let Some(skip) = skip else {
            let length = body.length().map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
            let detail = format!(
                "the registry sent other content than before: {status} with {length} bytes in place of {}-{}",
                bytes.start, bytes.end
            );
            return Err(Fault::new(Hop::Registry, FaultKind::Mismatch, detail).into());
        };
        Ok(Continuation { body, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::fault::Retry;
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
        let operation = Operation::Blob {
            repository: "a/b".parse().unwrap(),
            digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            method: Method::Get,
        };
        Request::new(Registry::docker_hub(), operation).with_headers(Headers::filter_request(&map))
    }

    fn blob() -> RangeRequest {
        RangeRequest::blob(request(), Some(100))
    }

    fn check(
        range_request: &RangeRequest,
        status: u16,
        fields: &[(HeaderName, &str)],
        length: u64,
    ) -> Result<u64, ExchangeError> {
        let status = StatusCode::from_u16(status).unwrap();
        let body = RemoteBody::of_length(length);
        let response =
            Response { status, headers: headers(fields), body, prefetch: None, layers: Vec::new() };
        range_request.check(&(20..30), response).map(|continuation| continuation.skip)
    }

    fn retry(checked: Result<u64, ExchangeError>) -> Option<Retry> {
        checked.err().map(|error| error.retry())
    }

    #[test]
    fn a_hole_is_asked_for_without_the_conditions_of_the_first_request() {
        let fetched = blob().request(&(20..30)).headers;
        assert_eq!(fetched.len(), 2, "{fetched:?}");
        assert_eq!(
            (&fetched[header::RANGE], &fetched[header::USER_AGENT]),
            (&"bytes=20-29".parse().unwrap(), &"me".parse().unwrap())
        );
        assert_eq!(blob().request(&(0..100)).headers.len(), 1, "the whole needs no range");
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
            assert_eq!(retry(checked), Some(Retry::Permanent), "{status} {text}");
        }
        assert_eq!(retry(check(&blob, 200, &[], 99)), Some(Retry::Permanent));
        for status in [401, 429, 500, 503] {
            assert_eq!(retry(check(&blob, status, &[], 3)), Some(Retry::Transient), "{status}");
        }
    }

    #[test]
    fn a_manifest_goes_on_only_if_it_is_the_same() {
        let digest = |text| [(DOCKER_CONTENT_DIGEST.clone(), text)];
        let named = RangeRequest::small(request(), &headers(&digest("sha256:1")), 100);
        assert!(matches!(check(&named, 200, &digest("sha256:1"), 100), Ok(20)));
        for (fields, length) in [(digest("sha256:2"), 100), (digest("sha256:1"), 99)] {
            assert!(retry(check(&named, 200, &fields, length)) == Some(Retry::Permanent));
        }
        let unnamed = RangeRequest::small(request(), &headers(&[]), 100);
        assert!(retry(check(&unnamed, 200, &[], 100)) == Some(Retry::Permanent), "some of it was passed on");
        assert_eq!(unnamed.request(&(20..30)).headers, request().headers);
    }
}
