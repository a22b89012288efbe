//! What the first answer about a blob promised, and whether a later one keeps it.
//!
//! Pure, and strict: a byte from the wrong place would be found only by the engine, at the very
//! end. No validator is compared: a blob's name is its digest, which whoever reads it checks, and
//! one CDN's ETag for it says nothing about another's.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The bytes that are still to come belong here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Promise {
    stretch: Stretch,
}

/// Bytes of a blob, as `Content-Range` names them (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: u64,
    /// Exclusive.
    end: u64,
    total: Option<u64>,
}

impl Promise {
    /// `None` for a body that cannot be continued: of unknown length, packed for the way, in
    /// several parts, or announced in words that contradict each other.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Option<Self> {
        let length = length.filter(|_| is_identity(headers))?;
        let stretch = match status {
            StatusCode::OK => Stretch { start: 0, end: length, total: Some(length) },
            StatusCode::PARTIAL_CONTENT => Stretch::of(headers)?,
            _ => return None,
        };
        (stretch.end - stretch.start == length).then_some(Self { stretch })
    }

    /// The bytes, and the length of the whole, if it was told.
    #[cfg(fuzzing)]
    pub(super) const fn bytes(&self) -> (std::ops::Range<u64>, Option<u64>) {
        let Stretch { start, end, total } = self.stretch;
        (start..end, total)
    }

    /// Bytes of the whole body.
    pub(super) const fn length(&self) -> u64 {
        self.stretch.end - self.stretch.start
    }

    /// The `Range` of what is missing, once `reached` bytes of the body have come.
    pub(super) fn rest(&self, reached: u64) -> HeaderValue {
        let Stretch { start, end, total } = self.stretch;
        let from = start + reached;
        let to = if total == Some(end) { String::new() } else { (end - 1).to_string() };
        // Digits and a dash fit into every header.
        HeaderValue::try_from(format!("bytes={from}-{to}")).unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    /// Bytes at the beginning of a later answer's body that have come already; `None` where it
    /// isn't what was promised.
    pub(super) fn kept_by(
        &self,
        reached: u64,
        status: StatusCode,
        headers: &HeaderMap,
        length: Option<u64>,
    ) -> Option<u64> {
        let Stretch { start, end, total } = self.stretch;
        let from = start + reached;
        let (stretch, announced, skip) = match status {
            StatusCode::PARTIAL_CONTENT => (Stretch::of(headers)?, end - from, 0),
            // It ignores ranges, and sends everything: all of what was promised is in there.
            StatusCode::OK => (Stretch { start: from, end, total: length }, length?, from),
            _ => return None,
        };
        let kept = stretch == Stretch { start: from, end, total }
            && length.is_none_or(|length| length == announced)
            && is_identity(headers);
        kept.then_some(skip)
    }
}

impl Stretch {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        let (unit, range) = line.to_str().ok()?.split_once(' ')?;
        let (stretch, total) = range.split_once('/')?;
        let (first, last) = stretch.split_once('-')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        let (start, end) = (number(first)?, number(last)?.checked_add(1)?);
        let sensible = start < end && total.is_none_or(|total| end <= total);
        (unit.eq_ignore_ascii_case("bytes") && sensible).then_some(Self { start, end, total })
    }
}

/// Digits alone: Rust would take a plus sign.
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

    fn whole(length: u64) -> Promise {
        Promise::of(WHOLE, &HeaderMap::new(), Some(length)).unwrap()
    }

    fn part(text: &str, length: u64) -> Option<Promise> {
        Promise::of(PART, &range(text), Some(length))
    }

    #[test]
    fn the_rest_is_asked_for_within_what_was_promised() {
        assert_eq!(whole(100).rest(7), "bytes=7-");
        assert_eq!(part("bytes 10-99/100", 90).unwrap().rest(7), "bytes=17-");
        assert_eq!(part("bytes 10-49/100", 40).unwrap().rest(0), "bytes=10-49");
        assert_eq!(part("bytes 10-49/*", 40).unwrap().rest(39), "bytes=49-49");
    }

    #[test]
    fn what_cannot_be_continued_promises_nothing() {
        let mut packed = range("bytes 0-9/10");
        packed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut twice = range("bytes 0-9/10");
        twice.append(header::CONTENT_RANGE, HeaderValue::from_static("bytes 0-9/10"));
        for (status, headers, length) in [
            (WHOLE, HeaderMap::new(), None),
            (WHOLE, packed.clone(), Some(10)),
            (PART, packed, Some(10)),
            (PART, twice, Some(10)),
            (PART, HeaderMap::new(), Some(10)),
            (StatusCode::NOT_MODIFIED, HeaderMap::new(), Some(10)),
        ] {
            assert_eq!(Promise::of(status, &headers, length), None, "{status} {headers:?}");
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
    fn a_continuation_must_begin_and_end_where_it_should() {
        let promise = part("bytes 10-49/100", 40).unwrap();
        let kept = |text, length| promise.kept_by(5, PART, &range(text), length);
        assert_eq!(kept("bytes 15-49/100", Some(35)), Some(0));
        assert_eq!(kept("bytes 15-49/100", None), Some(0));
        for text in ["bytes 16-49/100", "bytes 14-49/100", "bytes 15-48/100", "bytes 15-99/100"] {
            assert_eq!(kept(text, None), None, "{text}");
        }
        assert_eq!(kept("bytes 15-49/101", Some(35)), None, "another total");
        assert_eq!(kept("bytes 15-49/*", Some(35)), None, "no total");
        assert_eq!(kept("bytes 15-49/100", Some(34)), None, "another length than it says itself");
    }

    #[test]
    fn an_answer_that_ignores_the_range_is_skipped_if_it_is_the_same() {
        let kept = |promise: Promise, length| promise.kept_by(5, WHOLE, &HeaderMap::new(), length);
        assert_eq!(kept(whole(100), Some(100)), Some(5));
        assert_eq!(kept(part("bytes 10-49/100", 40).unwrap(), Some(100)), Some(15));
        assert_eq!(kept(whole(100), Some(99)), None);
        assert_eq!(kept(whole(100), None), None);
        assert_eq!(kept(part("bytes 10-49/*", 40).unwrap(), Some(100)), None);
    }

    #[test]
    fn neither_an_error_nor_a_packed_answer_continues_anything() {
        let mut packed = range("bytes 5-99/100");
        packed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(whole(100).kept_by(5, PART, &packed, Some(95)), None);
        for status in [StatusCode::NO_CONTENT, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
            assert_eq!(whole(100).kept_by(5, status, &range("bytes 5-99/100"), Some(95)), None);
        }
    }
}
