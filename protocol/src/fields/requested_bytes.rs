//! Which bytes of a blob a request names, and the fields of a response with them (RFC 9110, sections 14.2 and 15.3.7).
//!
//! Must never guess: what only the registry can answer is left to it.

use super::byte_range::ByteRange;
use super::headers::Headers;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;

/// The bytes that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedBytes {
    /// All of them.
    Whole,
    /// One range.
    Range(ByteRange),
}

impl RequestedBytes {
    /// `None` if only the registry can tell: the request has a condition, several ranges, or one that is not valid.
    #[must_use]
    pub fn of_request(headers: &Headers) -> Option<Self> {
        let mut others = headers.clone();
        others.remove(&header::RANGE);
        if others.is_conditional() {
            return None;
        }
        let mut lines = headers.get_all(header::RANGE).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Some(Self::Whole),
            (Some(line), None) => ByteRange::parse(line.to_str().ok()?).map(Self::Range),
            _ => None,
        }
    }

    /// Of a blob of this size, in bytes. `None` if there are none: the range cannot be satisfied.
    #[must_use]
    pub fn bytes(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole => Some(0..size),
            Self::Range(range) => range.of(size),
        }
    }

    /// The status of a response with these bytes of a blob of this size. Sets the fields that say which they are.
    pub fn describe(self, bytes: &Range<u64>, size: u64, headers: &mut HeaderMap) -> StatusCode {
        headers.insert(header::CONTENT_LENGTH, (bytes.end - bytes.start).into());
        headers.remove(header::CONTENT_RANGE);
        match self {
            Self::Whole => StatusCode::OK,
            Self::Range(_) => {
                let range = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
                // Digits and letters are a valid value.
                headers.extend(HeaderValue::try_from(range).ok().map(|range| (header::CONTENT_RANGE, range)));
                StatusCode::PARTIAL_CONTENT
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(lines: &[(header::HeaderName, &str)]) -> Option<RequestedBytes> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        RequestedBytes::of_request(&Headers::filter_request(&headers))
    }

    #[test]
    fn what_only_a_registry_can_answer_is_left_to_it() {
        assert_eq!(requested(&[]), Some(RequestedBytes::Whole));
        let range = Some(RequestedBytes::Range(ByteRange::From(5)));
        assert_eq!(requested(&[(header::RANGE, "bytes=5-")]), range);
        for lines in [
            &[(header::RANGE, "bytes=5-"), (header::RANGE, "bytes=9-")][..],
            &[(header::RANGE, "bytes=0-4,7-")],
            &[(header::RANGE, "bytes=5-"), (header::IF_RANGE, "\"a\"")],
            &[(header::IF_NONE_MATCH, "\"a\"")],
        ] {
            assert_eq!(requested(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn a_response_says_which_bytes_it_has() {
        let mut headers = HeaderMap::new();
        let range = RequestedBytes::Range(ByteRange::Last(3));
        let bytes = range.bytes(10).unwrap();
        assert_eq!(range.describe(&bytes, 10, &mut headers), StatusCode::PARTIAL_CONTENT);
        assert_eq!(
            (&headers[header::CONTENT_RANGE], &headers[header::CONTENT_LENGTH]),
            (&"bytes 7-9/10".parse().unwrap(), &"3".parse().unwrap())
        );
        assert_eq!(RequestedBytes::Whole.describe(&(0..10), 10, &mut headers), StatusCode::OK);
        assert!(!headers.contains_key(header::CONTENT_RANGE));
    }
}
