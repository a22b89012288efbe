//! Which bytes of a blob the first response announced, and whether a later response continues them.
//!
//! Pure and strict: must never accept a body at another offset, because only the engine would notice,
//! at the very end. ETags are not compared: the reader checks the blob's digest, and two CDNs may have
//! different ETags for one blob.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The bytes of a blob that a body consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) struct ExpectedBody {
    range: ByteRange,
}

/// A range of a blob, as in `Content-Range` (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteRange {
    start: u64,
    /// The end, exclusive.
    end: u64,
    total: Option<u64>,
}

impl ExpectedBody {
    /// What a response announces; `None` if its body cannot be resumed: its length is unknown, it is
    /// compressed or multipart, or its header fields contradict each other.
    pub(in crate::upstream) fn announced_by(
        status: StatusCode,
        headers: &HeaderMap,
        length: Option<u64>,
    ) -> Option<Self> {
        let length = length.filter(|_| is_identity(headers))?;
        let range = match status {
            StatusCode::OK => ByteRange { start: 0, end: length, total: Some(length) },
            StatusCode::PARTIAL_CONTENT => ByteRange::from_headers(headers)?,
            _ => return None,
        };
        (range.end - range.start == length).then_some(Self { range })
    }

    /// The range, and the length of the whole blob, if it is known.
    #[cfg(fuzzing)]
    pub(in crate::upstream) const fn bytes(&self) -> (std::ops::Range<u64>, Option<u64>) {
        let ByteRange { start, end, total } = self.range;
        (start..end, total)
    }

    /// The length of the body, in bytes.
    pub(in crate::upstream) const fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The `Range` of the missing bytes, after `received` bytes of the body.
    pub(in crate::upstream) fn remaining_range(&self, received: u64) -> HeaderValue {
        let ByteRange { start, end, total } = self.range;
        let from = start + received;
        let to = if total == Some(end) { String::new() } else { (end - 1).to_string() };
        // Digits and a dash are valid in every header field.
        HeaderValue::try_from(format!("bytes={from}-{to}")).unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    /// How many bytes at the start of a later response's body to skip, because they were received before;
    /// `None` if the response doesn't continue the body.
    pub(in crate::upstream) fn bytes_to_skip(
        &self,
        received: u64,
        status: StatusCode,
        headers: &HeaderMap,
        length: Option<u64>,
    ) -> Option<u64> {
        let ByteRange { start, end, total } = self.range;
        let from = start + received;
        let (range, announced, skip) = match status {
            StatusCode::PARTIAL_CONTENT => (ByteRange::from_headers(headers)?, end - from, 0),
            // The sender ignores ranges and sends the whole blob, which contains the expected bytes.
            StatusCode::OK => (ByteRange { start: from, end, total: length }, length?, from),
            _ => return None,
        };
        let continues = range == ByteRange { start: from, end, total }
            && length.is_none_or(|length| length == announced)
            && is_identity(headers);
        continues.then_some(skip)
    }
}

impl ByteRange {
    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        let (unit, range) = line.to_str().ok()?.split_once(' ')?;
        let (positions, total) = range.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        let (start, end) = (number(first)?, number(last)?.checked_add(1)?);
        let is_valid = start < end && total.is_none_or(|total| end <= total);
        (unit.eq_ignore_ascii_case("bytes") && is_valid).then_some(Self { start, end, total })
    }
}

/// Parses digits only: `str::parse` would accept a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_identity(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().all(|value| value.as_bytes() == b"identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: StatusCode = StatusCode::OK;
    const PART: StatusCode = StatusCode::PARTIAL_CONTENT;

    fn range(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_RANGE, text.parse().unwrap())])
    }

    fn whole(length: u64) -> ExpectedBody {
        ExpectedBody::announced_by(WHOLE, &HeaderMap::new(), Some(length)).unwrap()
    }

    fn part(text: &str, length: u64) -> Option<ExpectedBody> {
        ExpectedBody::announced_by(PART, &range(text), Some(length))
    }

    #[test]
    fn the_remaining_range_stays_within_the_body() {
        assert_eq!(whole(100).remaining_range(7), "bytes=7-");
        assert_eq!(part("bytes 10-99/100", 90).unwrap().remaining_range(7), "bytes=17-");
        assert_eq!(part("bytes 10-49/100", 40).unwrap().remaining_range(0), "bytes=10-49");
        assert_eq!(part("bytes 10-49/*", 40).unwrap().remaining_range(39), "bytes=49-49");
    }

    #[test]
    fn a_body_that_cannot_be_resumed_is_not_expected() {
        let mut compressed = range("bytes 0-9/10");
        compressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut twice = range("bytes 0-9/10");
        twice.append(header::CONTENT_RANGE, HeaderValue::from_static("bytes 0-9/10"));
        for (status, headers, length) in [
            (WHOLE, HeaderMap::new(), None),
            (WHOLE, compressed.clone(), Some(10)),
            (PART, compressed, Some(10)),
            (PART, twice, Some(10)),
            (PART, HeaderMap::new(), Some(10)),
            (StatusCode::NOT_MODIFIED, HeaderMap::new(), Some(10)),
        ] {
            assert_eq!(ExpectedBody::announced_by(status, &headers, length), None, "{status} {headers:?}");
        }
        for text in [
            "bytes 0-9/9",
            "bytes 1-9/10",
            "bytes 0-8/10",
            "bytes 9-0/10",
            "lines 0-9/10",
            "bytes +0-9/10",
            "bytes 0-9",
            "bytes */10",
            "bytes 0-18446744073709551615/*",
            "bytes=0-9/10",
        ] {
            assert_eq!(part(text, 10), None, "{text}");
        }
    }

    #[test]
    fn a_continuation_has_the_expected_range() {
        let expected = part("bytes 10-49/100", 40).unwrap();
        let skip = |text, length| expected.bytes_to_skip(5, PART, &range(text), length);
        assert_eq!(skip("bytes 15-49/100", Some(35)), Some(0));
        assert_eq!(skip("bytes 15-49/100", None), Some(0));
        for text in ["bytes 16-49/100", "bytes 14-49/100", "bytes 15-48/100", "bytes 15-99/100"] {
            assert_eq!(skip(text, None), None, "{text}");
        }
        assert_eq!(skip("bytes 15-49/101", Some(35)), None, "another total");
        assert_eq!(skip("bytes 15-49/*", Some(35)), None, "no total");
        assert_eq!(skip("bytes 15-49/100", Some(34)), None, "the length contradicts the range");
    }

    #[test]
    fn a_whole_body_of_the_same_blob_is_skipped_to_the_offset() {
        let skip =
            |expected: ExpectedBody, length| expected.bytes_to_skip(5, WHOLE, &HeaderMap::new(), length);
        assert_eq!(skip(whole(100), Some(100)), Some(5));
        assert_eq!(skip(part("bytes 10-49/100", 40).unwrap(), Some(100)), Some(15));
        assert_eq!(skip(whole(100), Some(99)), None);
        assert_eq!(skip(whole(100), None), None);
        assert_eq!(skip(part("bytes 10-49/*", 40).unwrap(), Some(100)), None);
    }

    #[test]
    fn an_error_or_a_compressed_body_is_not_a_continuation() {
        let mut compressed = range("bytes 5-99/100");
        compressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(whole(100).bytes_to_skip(5, PART, &compressed, Some(95)), None);
        for status in [StatusCode::NO_CONTENT, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
            assert_eq!(whole(100).bytes_to_skip(5, status, &range("bytes 5-99/100"), Some(95)), None);
        }
    }
}
