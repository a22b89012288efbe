//! The servers whose pull limit at a registry is used up. Manifests are requested through the others, so that the limits
//! of several servers add up.
//!
//! Pure: takes the time as an argument. Bounded.

use crate::tunnel::ServerId;
use docxy_host::lru::Lru;
use docxy_protocol::name::Registry;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of remembered limits. A user has a few servers, and they list a few registries.
const LIMITS_MAX: usize = 256;

/// How long a server is not asked first. The pulls of the last six hours count, so some may be left again at any time,
/// and a request in vain costs a round trip.
const REST: Duration = Duration::from_secs(300);

/// The limits of requests without a credential. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct UsedUpLimits(Arc<Mutex<Lru<(ServerId, Registry), Instant>>>);

impl Default for UsedUpLimits {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Lru::new(LIMITS_MAX))))
    }
}

impl UsedUpLimits {
    /// The registry has refused a request of this server.
    pub(in crate::gateway) fn record(&self, server: ServerId, registry: &Registry, now: Instant) {
        self.0.lock().insert((server, registry.clone()), now + REST, 1);
    }

    /// The servers that this registry has refused lately.
    pub(in crate::gateway) fn servers(&self, registry: &Registry, now: Instant) -> Vec<ServerId> {
        let limits = self.0.lock();
        let refused = limits.iter().filter(|((_, of), until)| of == registry && now < **until);
        refused.map(|((server, _), _)| *server).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_server_rests_for_that_registry() {
        let (limits, now) = (UsedUpLimits::default(), Instant::now());
        let (hub, ghcr) = (Registry::docker_hub(), "ghcr.io".parse().unwrap());
        let server = ServerId::of_test(1);
        limits.record(server, &hub, now);
        assert_eq!(limits.servers(&hub, now), [server]);
        assert_eq!(limits.servers(&ghcr, now), []);
        assert_eq!(limits.servers(&hub, now + REST), []);
    }
}
