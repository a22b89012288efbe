//! The pull limits that registries report (`ratelimit-*` and `docker-ratelimit-source` of Docker Hub).
//!
//! Shows the last values. Never guesses, and sends no request.

use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::text::CleanText;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most limits: one for each registry and account.
const REPORTED_LIMITS_MAX: usize = 64;

/// The user is warned when less than this fraction of a limit is left: a tenth.
const LOW_DIVISOR: u64 = 10;

/// A registry's pull limit, as it was last reported. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedLimit {
    /// The registry.
    pub registry: Registry,
    /// The address or account that is counted, if the registry reports it.
    pub source: Option<CleanText<100>>,
    /// The allowed pulls.
    pub limit: u64,
    /// How many of them are left.
    pub remaining: u64,
    /// The window of the limit in seconds.
    #[serde(rename = "window_seconds")]
    pub window: Option<u64>,
    /// When it was reported.
    pub at: Timestamp,
}

/// The last limits. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimits(Arc<Mutex<BySource>>);

/// By registry and counted account.
type BySource = BTreeMap<(Registry, Option<CleanText<100>>), ReportedLimit>;

impl RateLimits {
    pub(crate) fn all(&self) -> Vec<ReportedLimit> {
        self.0.lock().values().cloned().collect()
    }

    /// Stores the limit of a response, and warns when less than a tenth is left.
    pub(crate) fn observe_response(&self, registry: &Registry, headers: &Headers) {
        let Some(limit) = read(registry, headers) else { return };
        if self.update(limit.clone()) {
            let ReportedLimit { limit, remaining, source, window, .. } = limit;
            tracing::warn!(
                %registry, remaining, limit, window_s = window, source = source.map(tracing::field::display),
                "few pulls are left for now"
            );
        }
    }

    /// Returns whether the limit has just fallen below a tenth.
    fn update(&self, limit: ReportedLimit) -> bool {
        let mut limits = self.0.lock();
        let key = (limit.registry.clone(), limit.source.clone());
        if limits.len() >= REPORTED_LIMITS_MAX && !limits.contains_key(&key) {
            let oldest = limits.iter().min_by_key(|(_, limit)| limit.at).map(|(key, _)| key.clone());
            oldest.map(|key| limits.remove(&key));
        }
        let low = limit.is_low();
        let before = limits.insert(key, limit);
        low && !before.is_some_and(|before| before.is_low())
    }
}

impl ReportedLimit {
    const fn is_low(&self) -> bool {
        self.remaining.saturating_mul(LOW_DIVISOR) < self.limit
    }
}

/// `None` unless both counts are reported.
fn read(registry: &Registry, headers: &Headers) -> Option<ReportedLimit> {
    let RateLimit { limit, remaining, window, source } = RateLimit::from_headers(headers)?;
    let (registry, window) = (registry.clone(), window.map(|window| window.as_secs()));
    Some(ReportedLimit {
        registry,
        source,
        limit: limit?,
        remaining: remaining?,
        window,
        at: Timestamp::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName};

    const LIMIT_FIELD: HeaderName = HeaderName::from_static("ratelimit-limit");
    const REMAINING_FIELD: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const SOURCE_FIELD: HeaderName = HeaderName::from_static("docker-ratelimit-source");

    fn headers(fields: &[(HeaderName, &str)]) -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(name, value.parse().unwrap());
        }
        Headers::filter_response(&map)
    }

    fn fields(remaining: &str) -> Headers {
        headers(&[(LIMIT_FIELD, "100;w=21600"), (REMAINING_FIELD, remaining), (SOURCE_FIELD, "192.0.2.1")])
    }

    #[test]
    fn the_last_values_are_shown() {
        let (limits, hub) = (RateLimits::default(), Registry::docker_hub());
        for nothing in [headers(&[]), headers(&[(LIMIT_FIELD, "100")]), fields("many"), fields("-1;w=21600")]
        {
            limits.observe_response(&hub, &nothing);
            assert_eq!(limits.all(), []);
        }
        limits.observe_response(&hub, &fields("20;w=21600"));
        limits.observe_response(&hub, &fields("19;w=21600"));
        limits.observe_response(
            &hub,
            &headers(&[(LIMIT_FIELD, "200"), (REMAINING_FIELD, "7"), (SOURCE_FIELD, "me")]),
        );
        let all: Vec<_> =
            limits.all().into_iter().map(|q| (q.source.unwrap(), q.limit, q.remaining, q.window)).collect();
        assert_eq!(all[0], ("192.0.2.1".into(), 100, 19, Some(21600)));
        assert_eq!(all[1], ("me".into(), 200, 7, None));
    }

    #[test]
    fn each_fall_below_a_tenth_warns_once() {
        let (limits, hub) = (RateLimits::default(), Registry::docker_hub());
        let warned = ["10", "9", "8", "0", "100", "9", "9"]
            .map(|remaining| limits.update(read(&hub, &fields(remaining)).unwrap()));
        assert_eq!(warned, [false, true, false, false, false, true, false]);
    }

    #[test]
    fn the_number_of_limits_is_limited() {
        let limits = RateLimits::default();
        for n in 0..REPORTED_LIMITS_MAX * 2 {
            let registry = format!("r{n}.example").parse().unwrap();
            limits.observe_response(&registry, &fields("50"));
        }
        assert_eq!(limits.all().len(), REPORTED_LIMITS_MAX);
    }
}
