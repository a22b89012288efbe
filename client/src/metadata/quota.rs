//! What registries say of their pull limits (Docker Hub's `ratelimit-*` and
//! `docker-ratelimit-source`).
//!
//! Shows what was said last; never guesses, and never asks.

use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::text::CleanText;
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// Quotas remembered at most: one for each registry and account.
const MOST: usize = 64;

/// The part of a limit below which its user is warned: a tenth.
const LOW: u64 = 10;

/// What is left of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) registry: Registry,
    /// The address or account that is counted, where the registry says so.
    pub(crate) source: Option<CleanText<100>>,
    /// Pulls in all, and those that are left.
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Seconds for which the limit is.
    pub(crate) window: Option<u64>,
    /// When it was said.
    pub(crate) at: SystemTime,
}

/// What was said last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Quotas(Arc<Mutex<BySource>>);

/// By registry, and by who is counted there.
type BySource = BTreeMap<(Registry, Option<CleanText<100>>), Quota>;

impl Quotas {
    pub(super) fn all(&self) -> Vec<Quota> {
        self.known().values().cloned().collect()
    }

    /// Takes note of an answer's head, and warns when the quota falls below a tenth.
    pub(super) fn learn(&self, registry: &Registry, headers: &Headers) {
        let Some(quota) = read(registry, headers) else { return };
        if self.take(quota.clone()) {
            let Quota { limit, remaining, source, window, .. } = quota;
            tracing::warn!(
                %registry, remaining, limit, window_s = window, source = source.map(tracing::field::display),
                "few pulls are left for now"
            );
        }
    }

    /// Whether it has just fallen below a tenth.
    fn take(&self, quota: Quota) -> bool {
        let mut known = self.known();
        let key = (quota.registry.clone(), quota.source.clone());
        if known.len() >= MOST && !known.contains_key(&key) {
            let oldest = known.iter().min_by_key(|(_, quota)| quota.at).map(|(key, _)| key.clone());
            oldest.map(|key| known.remove(&key));
        }
        let low = quota.is_low();
        let before = known.insert(key, quota);
        low && !before.is_some_and(|before| before.is_low())
    }

    fn known(&self) -> MutexGuard<'_, BySource> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quota {
    const fn is_low(&self) -> bool {
        self.remaining.saturating_mul(LOW) < self.limit
    }
}

fn read(registry: &Registry, headers: &Headers) -> Option<Quota> {
    let (limit, window) = count(headers.get_str(&LIMIT)?)?;
    let (remaining, _) = count(headers.get_str(&REMAINING)?)?;
    let source = headers.get_str(&SOURCE).map(CleanText::from);
    Some(Quota { registry: registry.clone(), source, limit, remaining, window, at: SystemTime::now() })
}

/// `100;w=21600`: so many, in so many seconds.
fn count(text: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn headers(fields: &[(HeaderName, &str)]) -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(name, value.parse().unwrap());
        }
        Headers::filter_response(&map)
    }

    fn said(remaining: &str) -> Headers {
        headers(&[(LIMIT, "100;w=21600"), (REMAINING, remaining), (SOURCE, "192.0.2.1")])
    }

    #[test]
    fn what_was_said_last_is_what_counts() {
        let (quotas, hub) = (Quotas::default(), Registry::docker_hub());
        for nothing in [headers(&[]), headers(&[(LIMIT, "100")]), said("many"), said("-1;w=21600")] {
            quotas.learn(&hub, &nothing);
            assert_eq!(quotas.all(), []);
        }
        quotas.learn(&hub, &said("20;w=21600"));
        quotas.learn(&hub, &said("19;w=21600"));
        quotas.learn(&hub, &headers(&[(LIMIT, "200"), (REMAINING, "7"), (SOURCE, "me")]));
        let all: Vec<_> =
            quotas.all().into_iter().map(|q| (q.source.unwrap(), q.limit, q.remaining, q.window)).collect();
        assert_eq!(all[0], ("192.0.2.1".into(), 100, 19, Some(21600)));
        assert_eq!(all[1], ("me".into(), 200, 7, None));
    }

    #[test]
    fn a_warning_comes_once_for_each_fall() {
        let (quotas, hub) = (Quotas::default(), Registry::docker_hub());
        let warned = ["10", "9", "8", "0", "100", "9", "9"]
            .map(|remaining| quotas.take(read(&hub, &said(remaining)).unwrap()));
        assert_eq!(warned, [false, true, false, false, false, true, false]);
    }

    #[test]
    fn they_are_few() {
        let quotas = Quotas::default();
        for n in 0..MOST * 2 {
            let registry = format!("r{n}.example").parse().unwrap();
            quotas.learn(&registry, &said("50"));
        }
        assert_eq!(quotas.all().len(), MOST);
    }
}
