//! The `Range` of a request for one range of bytes (RFC 9110, section 14.2).

use super::parse_digits;
use std::ops::Range;

/// A requested range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From this position to the end.
    From(u64),
    /// From one position to another one, both included.
    Between(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// Parses a field that requests one range. `None` if it requests several, or is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", length) => parse_digits(length).filter(|_| !length.is_empty()).map(Self::Last),
            (first, "") => parse_digits(first).map(Self::From),
            (first, last) => {
                let (first, last) = (parse_digits(first)?, parse_digits(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Its bytes of a whole of `total` bytes. `None` if there are none: it cannot be satisfied.
    #[must_use]
    pub fn of(self, total: u64) -> Option<Range<u64>> {
        let bytes = match self {
            Self::From(first) => first..total,
            Self::Between(first, last) => first..total.min(last.saturating_add(1)),
            Self::Last(length) => total.saturating_sub(length)..total,
        };
        (bytes.start < bytes.end).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        for (text, bytes) in [
            ("bytes=0-", Some(0..100)),
            ("Bytes=5-9", Some(5..10)),
            ("bytes=5-5", Some(5..6)),
            ("bytes=90-1000", Some(90..100)),
            ("bytes=-7", Some(93..100)),
            ("bytes=-700", Some(0..100)),
            ("bytes=100-", None),
            ("bytes=-0", None),
        ] {
            assert_eq!(ByteRange::parse(text).unwrap().of(100), bytes, "{text}");
        }
        for text in [
            "bytes=0-4,7-",
            "bytes=-",
            "bytes=9-5",
            "bytes=+1-",
            "lines=0-",
            "bytes 0-",
            "bytes=a-",
            "",
            "bytes=1-2-3",
        ] {
            assert_eq!(ByteRange::parse(text), None, "{text}");
        }
    }
}
