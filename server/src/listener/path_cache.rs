//! A cache of measured paths to clients, so that the next connection starts at a known rate.
//!
//! It is in memory only, so a restart empties it. Must never read a clock: the caller passes the time.

use super::network::Network;
use docxy_host::lru::Lru;
use docxy_protocol::congestion::PathMemory;
use docxy_protocol::link::ClientName;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long an entry is valid. After an hour, others share the access network.
const ENTRY_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The most entries, of about 100 bytes each. A client that moves could add any number.
const CACHED_PATHS_MAX: usize = 4096;

/// The measured paths, by client and network.
#[derive(Debug)]
pub(super) struct PathCache {
    paths: Mutex<Lru<(ClientName, Network), CachedPath>>,
    /// How often an entry was found, and the last one.
    hits: Mutex<(u64, Option<PathMemory>)>,
}

#[derive(Debug, Clone, Copy)]
struct CachedPath {
    measured_at: Instant,
    memory: PathMemory,
}

impl Default for PathCache {
    fn default() -> Self {
        Self { paths: Mutex::new(Lru::new(CACHED_PATHS_MAX)), hits: Mutex::default() }
    }
}

impl PathCache {
    /// Adds what a client's connection has just measured.
    pub(super) fn insert(&self, client: &ClientName, network: Network, memory: PathMemory, now: Instant) {
        let path = CachedPath { measured_at: now, memory };
        self.paths.lock().insert((client.clone(), network), path, 1);
    }

    /// The last measurement of this client's connections from this network, if it is still valid.
    pub(super) fn get(&self, client: &ClientName, network: Network, now: Instant) -> Option<PathMemory> {
        let found = self.paths.lock().get(&(client.clone(), network)).copied()?;
        let is_valid = now.saturating_duration_since(found.measured_at) <= ENTRY_LIFETIME;
        let memory = is_valid.then_some(found.memory)?;
        let mut hits = self.hits.lock();
        *hits = (hits.0 + 1, Some(memory));
        Some(memory)
    }

    /// How often an entry was found since the start, and the last one.
    pub(super) fn hits(&self) -> (u64, Option<PathMemory>) {
        *self.hits.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn laptop() -> ClientName {
        "laptop".parse().unwrap()
    }

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    fn memory(rate: &str) -> PathMemory {
        PathMemory { rate: rate.parse().unwrap(), min_rtt: Duration::from_millis(200) }
    }

    #[test]
    fn a_connection_finds_the_last_measurement_from_its_network() {
        let (paths, now) = (PathCache::default(), Instant::now());
        let home = network("192.0.2.7");
        assert_eq!(paths.get(&laptop(), home, now), None);
        paths.insert(&laptop(), home, memory("50 Mbit/s"), now);
        paths.insert(&laptop(), home, memory("90 Mbit/s"), now);
        assert_eq!(paths.get(&laptop(), network("192.0.2.200"), now), Some(memory("90 Mbit/s")));
        assert_eq!(paths.get(&laptop(), network("192.0.3.7"), now), None);
        assert_eq!(paths.get(&"phone".parse().unwrap(), home, now), None, "another client");
    }

    #[test]
    fn an_entry_expires_after_an_hour() {
        let (paths, now) = (PathCache::default(), Instant::now());
        let home = network("192.0.2.7");
        paths.insert(&laptop(), home, memory("50 Mbit/s"), now);
        let hour = Duration::from_secs(3600);
        assert!(paths.get(&laptop(), home, now + hour).is_some());
        assert_eq!(paths.get(&laptop(), home, now + hour + Duration::from_secs(1)), None);
        // A new measurement is valid for another hour.
        paths.insert(&laptop(), home, memory("50 Mbit/s"), now + hour);
        assert!(paths.get(&laptop(), home, now + hour * 2).is_some());
    }

    #[test]
    fn a_full_cache_evicts_the_entry_that_was_used_the_longest_time_ago() {
        let (paths, start) = (PathCache::default(), Instant::now());
        let nth = |n: usize| Network::of(IpAddr::from([10, (n >> 8) as u8, n as u8, 1]));
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..CACHED_PATHS_MAX {
            paths.insert(&laptop(), nth(n), memory("50 Mbit/s"), at(n));
        }
        // The first entry is replaced, and the second one is used.
        paths.insert(&laptop(), nth(0), memory("60 Mbit/s"), at(CACHED_PATHS_MAX));
        assert!(paths.get(&laptop(), nth(1), at(CACHED_PATHS_MAX)).is_some(), "a replacement evicts nothing");
        paths.insert(&laptop(), nth(CACHED_PATHS_MAX), memory("50 Mbit/s"), at(CACHED_PATHS_MAX));
        let known = |n: usize| paths.get(&laptop(), nth(n), at(CACHED_PATHS_MAX)).is_some();
        assert_eq!([0, 1, 2, CACHED_PATHS_MAX].map(known), [true, true, false, true]);
    }
}
