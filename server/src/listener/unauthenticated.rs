//! The connections whose client is not authenticated yet. Anybody can open them, so they are
//! counted apart from clients' connections, and bounded in all and for each network.
//!
//! A newcomer is never turned away because others hold the places: it takes the place of the
//! oldest connection of the network that holds most. Must never close a client's connection.

use super::paths::Network;
use docxy_protocol::limits::{UNAUTHENTICATED_CONNECTIONS_MAX, UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Debug)]
pub(super) struct Unauthenticated {
    max: usize,
    max_per_network: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    opened: u64,
    count: usize,
    /// Of each network, the oldest first: a connection's number, and what closes it.
    networks: HashMap<Network, BTreeMap<u64, CancellationToken>>,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Unauthenticated>,
    network: Network,
    number: u64,
    evicted: CancellationToken,
}

impl Unauthenticated {
    pub(super) fn new() -> Arc<Self> {
        Self::with_limits(UNAUTHENTICATED_CONNECTIONS_MAX, UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX)
    }

    fn with_limits(max: usize, max_per_network: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_network, open: Mutex::default() })
    }

    /// Makes a place for a connection from this network, and evicts another one where there are too
    /// many.
    pub(super) fn enter(self: &Arc<Self>, network: Network) -> Place {
        let evicted = CancellationToken::new();
        let mut open = self.lock();
        if open.count_of(network) >= self.max_per_network {
            open.evict_oldest_of(network);
        } else if open.count >= self.max
            && let Some(largest) = open.largest_network()
        {
            open.evict_oldest_of(largest);
        }
        open.opened += 1;
        open.count += 1;
        let number = open.opened;
        open.networks.entry(network).or_default().insert(number, evicted.clone());
        Place { all: Arc::clone(self), network, number, evicted }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().count
    }

    /// A panic elsewhere leaves consistent counts behind: nothing here can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn count_of(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    /// The network that holds most; of two that hold the same, the one with the oldest connection.
    fn largest_network(&self) -> Option<Network> {
        let oldest = |connections: &BTreeMap<u64, _>| connections.keys().next().copied();
        let order =
            |connections: &BTreeMap<u64, _>| (connections.len(), std::cmp::Reverse(oldest(connections)));
        let largest = self.networks.iter().max_by_key(|(_, connections)| order(connections));
        largest.map(|(network, _)| *network)
    }

    fn evict_oldest_of(&mut self, network: Network) {
        let oldest = self.networks.get(&network).and_then(|connections| connections.keys().next().copied());
        if let Some(connection) = oldest.and_then(|number| self.remove(network, number)) {
            connection.cancel();
        }
    }

    fn remove(&mut self, network: Network, number: u64) -> Option<CancellationToken> {
        let connections = self.networks.get_mut(&network)?;
        let removed = connections.remove(&number)?;
        if connections.is_empty() {
            self.networks.remove(&network);
        }
        self.count -= 1;
        Some(removed)
    }
}

impl Place {
    /// Resolves when another connection has taken this place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().remove(self.network, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> Network {
        Network::of([10, 0, n, 1].into())
    }

    fn evicted<const N: usize>(places: [&Place; N]) -> [bool; N] {
        places.map(|place| place.evicted.is_cancelled())
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_of_the_largest_network() {
        let all = Unauthenticated::with_limits(4, 3);
        let alone = all.enter(network(1));
        let [first, second, third] = [0; 3].map(|_| all.enter(network(2)));
        let newcomer = all.enter(network(3));
        assert_eq!(evicted([&alone, &first, &second, &third]), [false, true, false, false]);
        assert_eq!(all.len(), 4);
        let another = all.enter(network(3));
        assert_eq!(evicted([&alone, &second, &third, &newcomer]), [false, true, false, false]);
        drop([alone, first, second, third, newcomer, another]);
        assert_eq!(all.len(), 0);
        assert!(all.lock().networks.is_empty());
    }

    #[test]
    fn no_network_holds_more_than_its_share_even_if_there_is_room() {
        let all = Unauthenticated::with_limits(10, 2);
        let places: Vec<_> = (0..4).map(|_| all.enter(network(1))).collect();
        assert_eq!(evicted([&places[0], &places[1], &places[2], &places[3]]), [true, true, false, false]);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn of_many_networks_with_one_each_the_oldest_goes_first() {
        let all = Unauthenticated::with_limits(3, 2);
        let places: Vec<_> = (0..5).map(|n| all.enter(network(n))).collect();
        let gone: Vec<_> = places.iter().map(|place| place.evicted.is_cancelled()).collect();
        assert_eq!(gone, [true, true, false, false, false]);
    }
}
