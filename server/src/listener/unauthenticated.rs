//! The connections whose client is not authenticated yet. Anybody can open them, so they are counted apart
//! from clients' connections, with one limit for all and one for each network.
//!
//! A new connection is never refused because others hold the slots: it evicts the oldest connection of the
//! network that holds the most. Must never close an authenticated connection.

use super::network::Network;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The slots of all unauthenticated connections.
#[derive(Debug)]
pub(super) struct Unauthenticated {
    max: usize,
    max_per_network: usize,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    opened: u64,
    count: usize,
    /// For each network: each connection's number, and the token that closes it, the oldest first.
    networks: HashMap<Network, BTreeMap<u64, CancellationToken>>,
}

/// One connection's slot, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    all: Arc<Unauthenticated>,
    network: Network,
    number: u64,
    evicted: CancellationToken,
}

impl Unauthenticated {
    pub(super) fn new(max: usize, max_per_network: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_network, open: Mutex::default() })
    }

    /// Adds a connection from this network, and evicts another one if there are too many.
    pub(super) fn add(self: &Arc<Self>, network: Network) -> Slot {
        let evicted = CancellationToken::new();
        let mut open = self.open.lock();
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
        Slot { all: Arc::clone(self), network, number, evicted }
    }

    /// The number of unauthenticated connections.
    pub(super) fn len(&self) -> usize {
        self.open.lock().count
    }
}

impl OpenConnections {
    fn count_of(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    /// The network with the most connections; of two with equally many, the one with the oldest.
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

impl Slot {
    /// Resolves when another connection has evicted this one.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.open.lock().remove(self.network, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> Network {
        Network::of([10, 0, n, 1].into())
    }

    fn evicted<const N: usize>(slots: [&Slot; N]) -> [bool; N] {
        slots.map(|slot| slot.evicted.is_cancelled())
    }

    #[test]
    fn a_new_connection_evicts_the_oldest_of_the_largest_network() {
        let all = Unauthenticated::new(4, 3);
        let alone = all.add(network(1));
        let [first, second, third] = [0; 3].map(|_| all.add(network(2)));
        let newcomer = all.add(network(3));
        assert_eq!(evicted([&alone, &first, &second, &third]), [false, true, false, false]);
        assert_eq!(all.len(), 4);
        let another = all.add(network(3));
        assert_eq!(evicted([&alone, &second, &third, &newcomer]), [false, true, false, false]);
        drop([alone, first, second, third, newcomer, another]);
        assert_eq!(all.len(), 0);
        assert!(all.open.lock().networks.is_empty());
    }

    #[test]
    fn a_network_has_a_limit_even_if_slots_are_free() {
        let all = Unauthenticated::new(10, 2);
        let slots: Vec<_> = (0..4).map(|_| all.add(network(1))).collect();
        assert_eq!(evicted([&slots[0], &slots[1], &slots[2], &slots[3]]), [true, true, false, false]);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn of_networks_with_one_connection_each_the_oldest_is_evicted() {
        let all = Unauthenticated::new(3, 2);
        let slots: Vec<_> = (0..5).map(|n| all.add(network(n))).collect();
        let gone: Vec<_> = slots.iter().map(|slot| slot.evicted.is_cancelled()).collect();
        assert_eq!(gone, [true, true, false, false, false]);
    }
}
