//! The pull limits that registries report (`ratelimit-*` and `docker-ratelimit-source` of Docker Hub).
//!
//! Shows the last values, and the time of the reset if the registry names it: Docker Hub names only the length of its window.
//! Never guesses, and sends no request.

use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::rate_limit::{RateLimit, reset};
use docxy_protocol::text::CleanText;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// The most limits: one for each registry and account.
const REPORTED_LIMITS_MAX: usize = 64;

/// The user is warned when less than this fraction of a limit is left: a tenth.
const LOW_DIVISOR: u64 = 10;

/// How long a refusal without a time is shown. Registries that limit requests do so for some minutes.
const REFUSAL_SHOWN: SignedDuration = SignedDuration::from_mins(5);

/// A registry's pull limit, as it was last reported. As JSON, the fields are those of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedLimit {
    /// The registry.
    pub registry: Registry,
    /// The address or account that is counted, if the registry reports it.
    pub source: Option<CleanText<100>>,
    /// The allowed pulls; `None` if the registry only refuses requests for a time.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: Option<u64>,
    /// The window of the limit in seconds.
    #[serde(rename = "window_seconds")]
    pub window: Option<u64>,
    /// When it was reported.
    pub at: Timestamp,
    /// When requests are allowed again, if the registry says so.
    pub resets_at: Option<Timestamp>,
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
type BySource = BTreeMap<(Registry, Option<CleanText<100>>), (ReportedLimit, Stock)>;

impl RateLimits {
    pub(crate) fn all(&self) -> Vec<ReportedLimit> {
        let mut limits = self.0.lock();
        let now = Timestamp::now();
        limits.retain(|_, (limit, _)| limit.limit.is_some() || limit.refuses(now));
        for (limit, _) in limits.values_mut() {
            limit.resets_at = limit.resets_at.filter(|reset| *reset > now);
        }
        limits.values().map(|(limit, _)| limit.clone()).collect()
    }

    /// Stores the limit of a response, and tells when less than a tenth is left, when none is, and when that is over.
    pub(crate) fn observe_response(&self, registry: &Registry, status: StatusCode, headers: &Headers) {
        let Some(limit) = read(registry, status, headers) else {
            if status.is_success() {
                // It refuses no longer.
                self.0.lock().retain(|(of, _), (limit, _)| of != registry || limit.limit.is_some());
            }
            return;
        };
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
            let oldest = limits.iter().min_by_key(|(_, (limit, _))| limit.at).map(|(key, _)| key.clone());
            oldest.map(|key| limits.remove(&key));
        }
        let before = limits.get(&key).map_or(Stock::Many, |(_, stock)| *stock);
        let stock = match Stock::of(&limit) {
            // A refusal without counts says nothing of what is left.
            _ if limit.limit.is_none() => before,
            // A pull that is left again now and then is no end of the trouble.
            Stock::Few => before.max(Stock::Few),
            stock => stock,
        };
        limits.insert(key, (limit, stock));
        (stock != before).then_some(stock)
    }
}

impl ReportedLimit {
    /// Whether a refusal still holds.
    fn refuses(&self, now: Timestamp) -> bool {
        self.resets_at.map_or(now.duration_since(self.at) < REFUSAL_SHOWN, |reset| reset > now)
    }
}

impl Stock {
    const fn of(limit: &ReportedLimit) -> Self {
        match (limit.remaining, limit.limit) {
            (Some(0), Some(1..)) => Self::UsedUp,
            (Some(remaining), Some(limit)) if remaining.saturating_mul(LOW_DIVISOR) < limit => Self::Few,
            _ => Self::Many,
        }
    }
}

/// `None` unless both counts are reported, or the registry refuses.
fn read(registry: &Registry, status: StatusCode, headers: &Headers) -> Option<ReportedLimit> {
    let (registry, at) = (registry.clone(), Timestamp::now());
    let resets_at = reset(headers, SystemTime::from(at)).and_then(|reset| Timestamp::try_from(reset).ok());
    match RateLimit::from_headers(headers) {
        Some(RateLimit { limit: Some(limit), remaining: Some(remaining), window, source }) => {
            let (limit, remaining) = (Some(limit), Some(remaining));
            let window = window.map(|window| window.as_secs());
            Some(ReportedLimit { registry, source, limit, remaining, window, at, resets_at })
        }
        _ => (status == StatusCode::TOO_MANY_REQUESTS).then_some(ReportedLimit {
            registry,
            source: None,
            limit: None,
            remaining: None,
            window: None,
            at,
            resets_at,
        }),
    }
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
            limits.observe_response(&hub, StatusCode::OK, &nothing);
            assert_eq!(limits.all(), []);
        }
        limits.observe_response(&hub, StatusCode::OK, &fields("20;w=21600"));
        limits.observe_response(&hub, StatusCode::OK, &fields("19;w=21600"));
        limits.observe_response(
            &hub,
            StatusCode::OK,
            &headers(&[(LIMIT_FIELD, "200"), (REMAINING_FIELD, "7"), (SOURCE_FIELD, "me")]),
        );
        let all: Vec<_> =
            limits.all().into_iter().map(|q| (q.source.unwrap(), q.limit, q.remaining, q.window)).collect();
        assert_eq!(all[0], ("192.0.2.1".into(), Some(100), Some(19), Some(21600)));
        assert_eq!(all[1], ("me".into(), Some(200), Some(7), None));
    }

    #[test]
    fn only_the_registry_says_when_a_limit_is_reset() {
        let (limits, hub) = (RateLimits::default(), Registry::docker_hub());
        limits.observe_response(&hub, StatusCode::OK, &fields("0;w=21600"));
        assert_eq!(limits.all()[0].resets_at, None, "it may be at any time of the window");
        let retry = headers(&[(http::header::RETRY_AFTER, "90")]);
        let ghcr = "ghcr.io".parse().unwrap();
        limits.observe_response(&ghcr, StatusCode::SERVICE_UNAVAILABLE, &retry);
        assert_eq!(limits.all().len(), 1, "this is no limit");
        limits.observe_response(&ghcr, StatusCode::TOO_MANY_REQUESTS, &headers(&[]));
        let refusal = limits.all().remove(1);
        assert_eq!((refusal.limit, refusal.resets_at), (None, None));
        limits.observe_response(&ghcr, StatusCode::OK, &headers(&[]));
        assert_eq!(limits.all().len(), 1, "it refuses no longer");
        limits.observe_response(&ghcr, StatusCode::TOO_MANY_REQUESTS, &headers(&[]));
        limits.0.lock().values_mut().for_each(|(limit, _)| limit.at -= REFUSAL_SHOWN);
        assert_eq!(limits.all().len(), 1, "nobody knows whether it still refuses");
        limits.observe_response(&ghcr, StatusCode::TOO_MANY_REQUESTS, &retry);
        let refusal = limits.all().remove(1);
        assert_eq!((refusal.limit, refusal.remaining), (None, None));
        let wait = refusal.resets_at.unwrap().duration_since(refusal.at).as_secs();
        assert_eq!(wait, 90);
        limits.0.lock().values_mut().for_each(|(limit, _)| limit.resets_at = Some(limit.at));
        assert_eq!(limits.all().len(), 1, "the refusal is over");
    }

    #[test]
    fn each_fall_below_a_tenth_is_told_once_and_so_is_its_end() {
        let (limits, hub) = (RateLimits::default(), Registry::docker_hub());
        let told = ["10", "9", "8", "0", "1", "0", "100", "9", "9", "10"]
            .map(|remaining| limits.update(read(&hub, StatusCode::OK, &fields(remaining)).unwrap()));
        let (many, few, none) = (Some(Stock::Many), Some(Stock::Few), Some(Stock::UsedUp));
        assert_eq!(told, [None, few, None, none, None, None, many, few, None, many]);
        let refused = read(&hub, StatusCode::TOO_MANY_REQUESTS, &headers(&[])).unwrap();
        assert_eq!(
            ["0", "0"].map(|left| limits.update(read(&hub, StatusCode::OK, &fields(left)).unwrap())),
            [none, None]
        );
        assert_eq!(limits.update(ReportedLimit { source: Some("192.0.2.1".into()), ..refused }), None);
    }

    #[test]
    fn the_number_of_limits_is_limited() {
        let limits = RateLimits::default();
        for n in 0..REPORTED_LIMITS_MAX * 2 {
            let registry = format!("r{n}.example").parse().unwrap();
            limits.observe_response(&registry, StatusCode::OK, &fields("50"));
        }
        assert_eq!(limits.all().len(), REPORTED_LIMITS_MAX);
    }
}
