//! The bytes of a representation that a response carries (RFC 9110, section 14.4), and whether another response
//! continues them.
//!
//! Must never take a body for one at another offset: only the engine would notice, at the very end. ETags are not
//! compared: the reader checks the digest, and two CDNs may have different ETags for one blob.

use super::headers::is_encoded;
use super::parse_digits;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;

/// A range of bytes, which is not empty unless the whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    bytes: Range<u64>,
    total: Option<u64>,
}

impl ContentRange {
    /// These bytes of a whole of `total` bytes, if that is known. `None` if the bytes are not in it.
    #[must_use]
    pub fn new(bytes: Range<u64>, total: Option<u64>) -> Option<Self> {
        let is_inside = total.is_none_or(|total| bytes.end <= total);
        let is_range = bytes.start < bytes.end || (bytes.is_empty() && total == Some(0));
        (is_inside && is_range).then_some(Self { bytes, total })
    }

    /// The range in the body of a response, whose length is `length` if it is announced. `None` if the body is not
    /// one range of the representation: it is encoded, multipart, an error, or its fields contradict each other.
    #[must_use]
    pub fn of_response(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Option<Self> {
        if is_encoded(headers) {
            return None;
        }
        match status {
            StatusCode::OK => Self::new(0..length?, length),
            StatusCode::PARTIAL_CONTENT => {
                let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
                let (line, None) = (lines.next()?, lines.next()) else { return None };
                let range = Self::parse(line.to_str().ok()?)?;
                length.is_none_or(|length| length == range.length()).then_some(range)
            }
            _ => None,
        }
    }

    /// Parses a `Content-Range` that names a range. The unit is case-insensitive, and the length of the whole may
    /// be unknown (`*`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once(' ')?;
        let (positions, total) = range.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let total = if total == "*" { None } else { Some(parse_digits(total)?) };
        let range = Self::new(parse_digits(first)?..parse_digits(last)?.checked_add(1)?, total)?;
        (unit.eq_ignore_ascii_case("bytes") && !range.bytes.is_empty()).then_some(range)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Range<u64> {
        &self.bytes
    }

    /// The length of the whole, if it is known.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// The number of its bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Whether it is the whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.start == 0 && self.total == Some(self.bytes.end)
    }

    /// These bytes of the same whole. `None` if they are not in it.
    #[must_use]
    pub fn with_bytes(&self, bytes: Range<u64>) -> Option<Self> {
        Self::new(bytes, self.total)
    }

    /// How many bytes of a body with this range are before the `wanted` range, which was requested. A sender may
    /// ignore ranges and send the whole. `None` for any other range.
    #[must_use]
    pub fn bytes_before(&self, wanted: &Self) -> Option<u64> {
        let is_right = self.total == wanted.total && (self.bytes == wanted.bytes || self.is_whole());
        is_right.then(|| wanted.bytes.start - self.bytes.start)
    }

    /// The `Range` that requests it, open-ended if it ends with the whole.
    ///
    /// # Panics
    /// Never: digits and ASCII letters are a valid field value.
    #[must_use]
    pub fn to_range(&self) -> HeaderValue {
        let Range { start, end } = self.bytes;
        let last = if self.total == Some(end) { String::new() } else { end.saturating_sub(1).to_string() };
        HeaderValue::try_from(format!("bytes={start}-{last}")).expect("digits and letters are a field value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PART: StatusCode = StatusCode::PARTIAL_CONTENT;

    fn map(fields: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value.parse().unwrap());
        }
        map
    }

    fn range(text: &str) -> HeaderMap {
        map(&[(header::CONTENT_RANGE, text)])
    }

    fn part(text: &str, length: u64) -> Option<ContentRange> {
        ContentRange::of_response(PART, &range(text), Some(length))
    }

    fn whole(length: u64) -> ContentRange {
        ContentRange::of_response(StatusCode::OK, &HeaderMap::new(), Some(length)).unwrap()
    }

    #[test]
    fn whole_bodies_and_single_ranges_are_understood() {
        assert!(whole(10).is_whole() && whole(0).is_whole());
        for text in ["bytes 3-9/10", "BYTES 3-9/10", "Bytes 3-9/10"] {
            let part = part(text, 7).unwrap();
            assert_eq!((part.bytes(), part.total(), part.is_whole()), (&(3..10), Some(10), false), "{text}");
        }
        assert!(part("bytes 0-9/10", 10).unwrap().is_whole());
        let unknown = part("bytes 0-9/*", 10).unwrap();
        assert_eq!((unknown.total(), unknown.is_whole()), (None, false));
        let identity =
            map(&[(header::CONTENT_RANGE, "bytes 0-9/10"), (header::CONTENT_ENCODING, "Identity")]);
        assert!(ContentRange::of_response(PART, &identity, Some(10)).is_some());
        assert!(ContentRange::of_response(PART, &range("bytes 0-9/10"), None).is_some());
    }

    #[test]
    fn other_bodies_are_not_taken_for_a_range() {
        let line = (header::CONTENT_RANGE, "bytes 0-9/10");
        let gzip = (header::CONTENT_ENCODING, "gzip");
        for (status, headers, length) in [
            (404, map(&[]), Some(10)),
            (204, map(&[]), Some(10)),
            (304, map(&[]), Some(10)),
            (200, map(&[]), None),
            (200, map(std::slice::from_ref(&gzip)), Some(10)),
            (206, map(&[]), Some(10)),
            (206, map(&[line.clone(), gzip]), Some(10)),
            (206, map(&[line.clone(), line.clone()]), Some(10)),
            (206, map(&[line]), Some(9)),
            (206, map(&[(header::CONTENT_TYPE, "multipart/byteranges; boundary=x")]), Some(10)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ContentRange::of_response(status, &headers, length), None, "{status} {headers:?}");
        }
        for text in [
            "bytes 0-9/9",
            "bytes 1-9/10",
            "bytes 0-8/10",
            "bytes 9-0/10",
            "pages 0-9/10",
            "bytes +0-9/10",
            "bytes 0-+9/10",
            "bytes 0-9",
            "bytes */10",
            "bytes 0-9/",
            "bytes  0-9/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes=0-9/10",
        ] {
            assert_eq!(part(text, 10), None, "{text}");
        }
    }

    #[test]
    fn a_continuation_is_the_wanted_range_or_the_whole() {
        let wanted = part("bytes 15-49/100", 35).unwrap();
        let before = |text: &str| ContentRange::parse(text).unwrap().bytes_before(&wanted);
        assert_eq!(before("bytes 15-49/100"), Some(0));
        assert_eq!(before("bytes 0-99/100"), Some(15));
        for text in ["16-49/100", "14-49/100", "15-48/100", "15-99/100", "15-49/101", "15-49/*", "0-100/101"]
        {
            assert_eq!(before(&format!("bytes {text}")), None, "{text}");
        }
        let unknown = part("bytes 15-49/*", 35).unwrap();
        assert_eq!(unknown.bytes_before(&unknown), Some(0));
        assert_eq!(whole(100).bytes_before(&unknown), None);
    }

    #[test]
    fn a_requested_range_stays_within_the_whole() {
        let rest = |of: &ContentRange, from| of.with_bytes(from..of.bytes().end).unwrap().to_range();
        assert_eq!(rest(&whole(100), 7), "bytes=7-");
        assert_eq!(rest(&part("bytes 10-49/100", 40).unwrap(), 10), "bytes=10-49");
        assert_eq!(rest(&part("bytes 10-49/*", 40).unwrap(), 49), "bytes=49-49");
        assert_eq!(whole(100).with_bytes(7..101), None);
        assert_eq!(whole(100).with_bytes(Range { start: 9, end: 7 }), None);
    }

    proptest! {
        #[test]
        fn a_written_range_is_read_as_the_same(start in any::<u32>(), length in 1..u64::from(u32::MAX), rest in any::<Option<u32>>()) {
            let bytes = u64::from(start)..u64::from(start) + length;
            let total = rest.map(|rest| bytes.end + u64::from(rest));
            let written = total.map_or("*".into(), |total| total.to_string());
            let text = format!("bytes {}-{}/{written}", bytes.start, bytes.end - 1);
            let range = part(&text, length).unwrap();
            prop_assert_eq!((range.bytes(), range.total(), range.length()), (&bytes, total, length));
            prop_assert_eq!(range.bytes_before(&range), Some(0));
            prop_assert!(part(&text, length + 1).is_none());
        }

        #[test]
        fn parsing_never_panics(text in "(bytes )?[0-9*/-]{0,50}|\\PC{0,30}") {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(range.length() > 0 && range.total().is_none_or(|total| range.bytes().end <= total));
            }
        }
    }
}
