//! The pull limit that a response reports, in Docker Hub's fields: `ratelimit-limit: 100;w=21600`,
//! `ratelimit-remaining: 20;w=21600` and `docker-ratelimit-source: 192.0.2.1`; and the time of its reset, if it names one.
//!
//! Must never guess a value that the registry did not report.

use super::headers::Headers;
use super::parse_digits;
use super::retry_after::retry_after;
use crate::text::CleanText;
use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// The fields that report a pull limit.
pub const FIELDS: [HeaderName; 3] = [LIMIT, REMAINING, SOURCE];

/// The fields with the time of the reset. They hold at the moment of the response alone.
pub const RESET_FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-reset"), HeaderName::from_static("x-ratelimit-reset")];

/// A reset that is larger is in seconds since 1970, as Docker Hub and GitHub send it, and a smaller one in seconds from now.
const RELATIVE_RESET_MAX: u64 = 1_000_000_000;

/// A pull limit. Registries without a limit report none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The allowed pulls.
    pub limit: Option<u64>,
    /// The pulls that are left.
    pub remaining: Option<u64>,
    /// The time in which so many pulls are allowed.
    pub window: Option<Duration>,
    /// The address or account that is counted.
    pub source: Option<CleanText<100>>,
}

impl RateLimit {
    /// The limit that a response reports; `None` if it reports neither the allowed pulls nor those that are left.
    #[must_use]
    pub fn from_headers(headers: &Headers) -> Option<Self> {
        let quantity = |name: &HeaderName| headers.get_str(name).and_then(parse_quantity).unzip();
        let (limit, window) = quantity(&LIMIT);
        let (remaining, remaining_window) = quantity(&REMAINING);
        let window = window.flatten().or(remaining_window.flatten());
        let source = headers.get_str(&SOURCE).map(CleanText::from);
        (limit.is_some() || remaining.is_some()).then_some(Self { limit, remaining, window, source })
    }

    /// Whether no pull is left.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.remaining == Some(0)
    }
}

/// When requests are allowed again, if a response of `now` says so: in the field of the reset, or in `Retry-After`.
#[must_use]
pub fn reset(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let seconds = |name: &HeaderName| parse_digits(headers.get(name)?.to_str().ok()?.trim());
    let (since, after) = match RESET_FIELDS.iter().find_map(seconds) {
        Some(seconds) if seconds > RELATIVE_RESET_MAX => (UNIX_EPOCH, Duration::from_secs(seconds)),
        Some(seconds) => (now, Duration::from_secs(seconds)),
        None => (now, retry_after(headers)?),
    };
    since.checked_add(after).filter(|reset| *reset > now)
}

/// Parses `100;w=21600`: the number of pulls, and the window in seconds. Other parameters are ignored.
fn parse_quantity(text: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let pulls = parse_digits(parts.next()?)?;
    let window = parts.find_map(|part| parse_digits(part.strip_prefix("w=")?));
    Some((pulls, window.map(Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &[(HeaderName, &str)]) -> Option<RateLimit> {
        let fields = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        RateLimit::from_headers(&Headers::filter_response(&fields.collect::<HeaderMap>()))
    }

    #[test]
    fn docker_hubs_fields_are_parsed() {
        let window = Some(Duration::from_secs(21_600));
        let all = read(&[(LIMIT, "100;w=21600"), (REMAINING, "0;w=21600"), (SOURCE, "192.0.2.1")]).unwrap();
        let expected =
            RateLimit { limit: Some(100), remaining: Some(0), window, source: Some("192.0.2.1".into()) };
        assert_eq!(all, expected);
        assert!(all.is_exhausted());
        let loose = read(&[(REMAINING, " 20 ; x=1; w=21600")]).unwrap();
        assert_eq!(loose, RateLimit { limit: None, remaining: Some(20), window, source: None });
        assert!(!loose.is_exhausted());
        assert_eq!(read(&[(LIMIT, "200")]).unwrap().window, None);
    }

    #[test]
    fn other_values_report_no_limit() {
        for text in ["many", "-1;w=21600", "+1", "", ";w=21600", "18446744073709551616"] {
            assert_eq!(read(&[(LIMIT, text), (SOURCE, "192.0.2.1")]), None, "{text:?}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_reset_is_in_seconds_from_now_or_since_1970() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (name, value, expected) in [
            ("x-ratelimit-reset", "1700000090", Some(90)),
            ("ratelimit-reset", "90", Some(90)),
            ("retry-after", "90", Some(90)),
            ("x-ratelimit-reset", "1600000000", None),
            ("ratelimit-reset", "0", None),
            ("ratelimit-reset", "18446744073709551615", None),
            ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", None),
            ("ratelimit-limit", "100;w=21600", None),
        ] {
            let fields = [(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect();
            let expected = expected.map(|seconds| now + Duration::from_secs(seconds));
            assert_eq!(reset(&fields, now), expected, "{name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn a_written_limit_is_read_as_the_same(pulls: u64, seconds: u64, space in "[ \t]{0,2}") {
            let limit = read(&[(REMAINING, &format!("{pulls}{space};{space}w={seconds}"))]).unwrap();
            prop_assert_eq!((limit.remaining, limit.window), (Some(pulls), Some(Duration::from_secs(seconds))));
        }
    }
}
