//! What connections have found out about the ways to their clients, so that the next one starts there.
//!
//! In memory only, and for a while: a server that was restarted knows nothing. Reads no clock.

use docxy_protocol::congestion::PathMemory;
use docxy_protocol::link::ClientName;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a memory counts: lines are shared, and an hour later by others.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Memories at most, of some 100 bytes each. A client that moves about could make any number.
const MOST: usize = 4096;

/// A network in which all ways to a client are taken to be the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    /// The /24 of an IPv4 address, however it is written, or the /48 of an IPv6 address: what one
    /// site usually has, and a new lease or a privacy address rarely leaves.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => (v4 & Ipv4Addr::new(255, 255, 255, 0)).into(),
            IpAddr::V6(v6) => (v6 & Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0, 0, 0, 0, 0)).into(),
        })
    }
}

/// All that is remembered, by client and network.
#[derive(Debug, Default)]
pub(super) struct Paths {
    all: Mutex<HashMap<(ClientName, Network), Remembered>>,
    /// How often a memory was found, and the last one.
    recalls: Mutex<(u64, Option<PathMemory>)>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    at: Instant,
    memory: PathMemory,
}

impl Paths {
    /// Takes note of what a client's connection has just measured.
    pub(super) fn remember(&self, client: &ClientName, network: Network, memory: PathMemory, now: Instant) {
        let mut paths = self.lock();
        let path = (client.clone(), network);
        if paths.len() >= MOST && !paths.contains_key(&path) {
            let oldest = paths.iter().min_by_key(|(_, remembered)| remembered.at);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                paths.remove(&oldest);
            }
        }
        paths.insert(path, Remembered { at: now, memory });
    }

    /// What this client's connections from this network have last measured, unless it was too long
    /// ago.
    pub(super) fn recall(&self, client: &ClientName, network: Network, now: Instant) -> Option<PathMemory> {
        let found = self.lock().get(&(client.clone(), network)).copied()?;
        let fresh = now.saturating_duration_since(found.at) <= LIFETIME;
        let memory = fresh.then_some(found.memory)?;
        let mut recalls = self.recalls.lock().unwrap_or_else(PoisonError::into_inner);
        *recalls = (recalls.0 + 1, Some(memory));
        Some(memory)
    }

    /// How often a memory was found since the start, and the last one.
    pub(super) fn recalls(&self) -> (u64, Option<PathMemory>) {
        *self.recalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic elsewhere leaves a map of plain values behind.
    fn lock(&self) -> MutexGuard<'_, HashMap<(ClientName, Network), Remembered>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_client_finds_what_its_last_connection_from_the_same_network_has_left() {
        let (paths, now) = (Paths::default(), Instant::now());
        let home = network("192.0.2.7");
        assert_eq!(paths.recall(&laptop(), home, now), None);
        paths.remember(&laptop(), home, memory("50 Mbit/s"), now);
        paths.remember(&laptop(), home, memory("90 Mbit/s"), now);
        assert_eq!(paths.recall(&laptop(), network("192.0.2.200"), now), Some(memory("90 Mbit/s")));
        assert_eq!(paths.recall(&laptop(), network("192.0.3.7"), now), None);
        assert_eq!(paths.recall(&"phone".parse().unwrap(), home, now), None, "another client");
    }

    #[test]
    fn after_an_hour_nothing_is_left() {
        let (paths, now) = (Paths::default(), Instant::now());
        let home = network("192.0.2.7");
        paths.remember(&laptop(), home, memory("50 Mbit/s"), now);
        let hour = Duration::from_secs(3600);
        assert!(paths.recall(&laptop(), home, now + hour).is_some());
        assert_eq!(paths.recall(&laptop(), home, now + hour + Duration::from_secs(1)), None);
        // Measured anew, it counts anew.
        paths.remember(&laptop(), home, memory("50 Mbit/s"), now + hour);
        assert!(paths.recall(&laptop(), home, now + hour * 2).is_some());
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_is_forgotten() {
        let (paths, start) = (Paths::default(), Instant::now());
        let nth = |n: usize| Network::of(IpAddr::from([10, (n >> 8) as u8, n as u8, 1]));
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..MOST {
            paths.remember(&laptop(), nth(n), memory("50 Mbit/s"), at(n));
        }
        // The first is renewed, so the second is the oldest now.
        paths.remember(&laptop(), nth(0), memory("60 Mbit/s"), at(MOST));
        assert!(paths.recall(&laptop(), nth(1), at(MOST)).is_some(), "a renewal takes no place");
        paths.remember(&laptop(), nth(MOST), memory("50 Mbit/s"), at(MOST));
        let known = |n: usize| paths.recall(&laptop(), nth(n), at(MOST)).is_some();
        assert_eq!([0, 1, 2, MOST].map(known), [true, false, true, true]);
    }

    #[test]
    fn a_network_is_the_same_however_its_addresses_are_written() {
        assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.9"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:ffff::"));
        assert_ne!(network("2001:db8:1::"), network("2001:db8:2::"));
        assert_ne!(network("::1"), network("0.0.0.1"));
    }
}
