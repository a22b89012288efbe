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
    #[serde(skip)]
    stock: Stock,
}

/// How many pulls are left. The last one is the worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stock {
    #[default]
    Many,
    /// Less than a tenth.
    Few,
    UsedUp,
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

    /// Stores the limit of a response, and tells when less than a tenth is left, when none is, and when that is over.
    pub(crate) fn observe_response(&self, registry: &Registry, headers: &Headers) {
        let Some(limit) = read(registry, headers) else { return };
        let change = self.update(limit.clone());
        let ReportedLimit { limit, remaining, source, window, .. } = limit;
        let (source, window_s) = (source.map(tracing::field::display), window);
        match change {
            None => {}
            Some(Stock::Many) => tracing::info!(%registry, remaining, limit, source, "pulls are left again"),
            Some(Stock::Few) => {
                tracing::warn!(%registry, remaining, limit, window_s, source, "few pulls are left for now");
            }
            Some(Stock::UsedUp) => {
                tracing::warn!(%registry, limit, window_s, source, "no pull is left for now");
            }
        }
    }

    /// Returns what is left if that has changed.
    fn update(&self, limit: ReportedLimit) -> Option<Stock> {
        let mut limits = self.0.lock();
        let key = (limit.registry.clone(), limit.source.clone());
        if limits.len() >= REPORTED_LIMITS_MAX && !limits.contains_key(&key) {
            let oldest = limits.iter().min_by_key(|(_, limit)| limit.at).map(|(key, _)| key.clone());
            oldest.map(|key| limits.remove(&key));
        }
        let before = limits.get(&key).map_or(Stock::Many, |before| before.stock);
        let stock = match limit.stock {
            // A pull that is left again now and then is no end of the trouble.
            Stock::Few => before.max(Stock::Few),
            stock => stock,
        };
        limits.insert(key, ReportedLimit { stock, ..limit });
        (stock != before).then_some(stock)
    }
}

impl Stock {
    const fn of(remaining: u64, limit: u64) -> Self {
        match remaining {
            0 if limit > 0 => Self::UsedUp,
            _ if remaining.saturating_mul(LOW_DIVISOR) < limit => Self::Few,
            _ => Self::Many,
        }
    }
}

/// `None` unless both counts are reported.
fn read(registry: &Registry, headers: &Headers) -> Option<ReportedLimit> {
    let RateLimit { limit, remaining, window, source } = RateLimit::from_headers(headers)?;
    let (registry, window) = (registry.clone(), window.map(|window| window.as_secs()));
    let (limit, remaining) = (limit?, remaining?);
    let (at, stock) = (Timestamp::now(), Stock::of(remaining, limit));
    Some(ReportedLimit { registry, source, limit, remaining, window, at, stock })
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
    fn each_fall_below_a_tenth_is_told_once_and_so_is_its_end() {
        let (limits, hub) = (RateLimits::default(), Registry::docker_hub());
        let told = ["10", "9", "8", "0", "1", "0", "100", "9", "9", "10"]
            .map(|remaining| limits.update(read(&hub, &fields(remaining)).unwrap()));
        let (many, few, none) = (Some(Stock::Many), Some(Stock::Few), Some(Stock::UsedUp));
        assert_eq!(told, [None, few, None, none, None, None, many, few, None, many]);
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
