//! The delay that a response requests before another attempt (RFC 9110, section 10.2.3).

use super::parse_digits;
use http::{HeaderMap, header};
use std::time::Duration;

/// The requested delay, if there is one. A date counts as [`Duration::MAX`]: the clocks may differ, and callers
/// ignore delays that are too long for them.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| parse_digits(text.trim_matches([' ', '\t'])));
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_delay_and_all_else_counts_as_too_long() {
        let read =
            |value: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(
            (read("3"), read(" 120 ")),
            (Some(Duration::from_secs(3)), Some(Duration::from_secs(120)))
        );
        for text in ["Fri, 31 Dec 1999 23:59:59 GMT", "-1", "+1", "1.5", "soon"] {
            assert_eq!(read(text), Some(Duration::MAX), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
