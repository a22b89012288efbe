//! The bytes of a blob that a response carries (RFC 9110, section 14).

use docxy_protocol::headers::Headers;
use http::{HeaderValue, StatusCode, header};
use std::ops::Range;

/// A range of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Its bytes.
    pub(super) bytes: Range<u64>,
    /// The length of the whole blob.
    pub(super) total: u64,
}

impl ContentRange {
    /// The range in the body of a response with this length. `None` if it is not one range of the unencoded
    /// blob.
    pub(super) fn of(status: StatusCode, headers: &Headers, length: u64) -> Option<Self> {
        if headers.map().contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        let content_range = match status {
            StatusCode::OK => Self { bytes: 0..length, total: length },
            StatusCode::PARTIAL_CONTENT => {
                let mut lines = headers.map().get_all(header::CONTENT_RANGE).iter();
                let (line, None) = (lines.next()?, lines.next()) else { return None };
                Self::parse(line.to_str().ok()?)?
            }
            _ => return None,
        };
        (content_range.bytes.end - content_range.bytes.start == length).then_some(content_range)
    }

    /// Whether it is the whole blob.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes == (0..self.total)
    }

    /// Reads a `RequestedContent-Range` with a known total.
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        (first <= last && last < total).then(|| Self { bytes: first..last + 1, total })
    }
}

/// Digits only: `parse` would accept a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The `Range` value for these bytes, which must not be empty.
pub(super) fn range_header(bytes: &Range<u64>) -> HeaderValue {
    let text = format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1));
    HeaderValue::try_from(text).expect("digits and ASCII letters are a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn of(status: u16, fields: &[(&'static str, &str)], length: u64) -> Option<ContentRange> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        ContentRange::of(StatusCode::from_u16(status).unwrap(), &Headers::filter_response(&map), length)
    }

    #[test]
    fn whole_blobs_and_single_ranges_are_understood() {
        assert!(of(200, &[], 10).unwrap().is_whole());
        let part = of(206, &[("content-range", "bytes 3-9/10")], 7).unwrap();
        assert_eq!((part.bytes.clone(), part.total, part.is_whole()), (3..10, 10, false));
        assert!(of(206, &[("content-range", "bytes 0-9/10")], 10).unwrap().is_whole());
        assert_eq!(range_header(&part.bytes), "bytes=3-9");
    }

    #[test]
    fn what_is_not_exactly_that_is_not_taken_for_it() {
        for (status, fields, length) in [
            (404, vec![], 10),
            (200, vec![("content-encoding", "gzip")], 10),
            (206, vec![], 7),
            (206, vec![("content-range", "bytes 3-9/10")], 8),
            (206, vec![("content-range", "bytes 3-9/*")], 7),
            (206, vec![("content-range", "bytes 3-10/10")], 8),
            (206, vec![("content-range", "bytes 9-3/10")], 7),
            (206, vec![("content-range", "bytes */10")], 7),
            (206, vec![("content-range", "bytes +3-9/10")], 7),
            (206, vec![("content-range", "bytes 3-9/10"), ("content-range", "bytes 3-9/10")], 7),
            (206, vec![("content-range", "pages 3-9/10")], 7),
            (206, vec![("content-range", "bytes 0-18446744073709551615/18446744073709551615")], 7),
            (206, vec![("content-type", "multipart/byteranges; boundary=x")], 7),
        ] {
            assert_eq!(of(status, &fields, length), None, "{status} {fields:?}");
        }
    }
}
