//! One connection's congestion control: the client's choice within the operator's limit, the cached measurements of
//! its path, and what the client is told of its loss.
//!
//! Must never decide how fast to send: `docxy_protocol::congestion` does.

use super::network::Network;
use super::path_cache::PathCache;
use docxy_protocol::congestion::{Choice, Handle, PathMemory, Rate};
use docxy_protocol::control::ControlMessage;
use docxy_protocol::link::ClientName;
use docxy_transport::Path;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Caches one connection's measurements for the next connection.
pub(super) struct PathObserver {
    handle: Handle,
    path_cache: Arc<PathCache>,
    client: ClientName,
    remote: SocketAddr,
    /// The handle's last measurement.
    last: Option<PathMemory>,
}

impl PathObserver {
    /// Starts with the cached measurement of the path to `remote`.
    pub(super) fn start(
        handle: Handle,
        path_cache: Arc<PathCache>,
        client: ClientName,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        let observer = Self { handle, path_cache, client, remote, last: None };
        observer.restore(now);
        observer
    }

    /// Caches the current measurement, for the client's current address.
    pub(super) fn update(&mut self, remote: SocketAddr, now: Instant) {
        self.observe(remote, self.handle.measured().memory, now);
    }

    /// The same at the end of the connection, and logs the measurement.
    pub(super) fn end(mut self, remote: SocketAddr, now: Instant) {
        self.update(remote, now);
        let measured = self.handle.measured();
        tracing::debug!(
            phase = measured.phase,
            rate = measured.rate.map(tracing::field::display),
            min_rtt = measured.min_rtt.map(tracing::field::debug),
            loss = measured.loss,
            "congestion control at the end"
        );
    }

    fn observe(&mut self, remote: SocketAddr, memory: Option<PathMemory>, now: Instant) {
        if remote != self.remote {
            // It starts again on the new path, but until an acknowledgement arrives there, the measurement
            // is still the old path's. It is not cached for either.
            tracing::debug!(%remote, "the client has moved");
            self.remote = remote;
            self.restore(now);
        } else if let Some(memory) = memory.filter(|_| memory != self.last) {
            self.path_cache.insert(&self.client, Network::of(remote.ip()), memory, now);
        }
        // An idle connection's measurement does not change, and must not make an old entry look new.
        self.last = memory;
    }

    fn restore(&self, now: Instant) {
        if let Some(memory) = self.path_cache.get(&self.client, Network::of(self.remote.ip()), now) {
            tracing::info!(rate = %memory.rate, min_rtt = ?memory.min_rtt, "path is in the cache");
            self.handle.recall(memory);
        }
    }
}

/// Packets since the last notice that are much: 1 Mbit/s. Of so many, a loss of some percent can be told from none.
const PACKETS_PER_NOTICE_MIN: u64 = 100;

/// What a client was told of the packets that were sent to it.
#[derive(Debug, Default)]
pub(super) struct LossNotices {
    packets: u64,
    lost: u64,
    /// Those of the lost packets that the path does not lose at any rate.
    excess: u64,
}

impl LossNotices {
    /// The next notice, if much was sent since the last one. `base` is the loss rate of the path itself.
    pub(super) fn next(&mut self, path: &Path, base: f64) -> Option<ControlMessage> {
        let packets = path.packets_sent.saturating_sub(self.packets);
        if packets < PACKETS_PER_NOTICE_MIN {
            return None;
        }
        let lost = path.packets_lost.saturating_sub(self.lost);
        self.excess += lost.saturating_sub((packets as f64 * base) as u64);
        (self.packets, self.lost) = (path.packets_sent, path.packets_lost);
        Some(ControlMessage::Sent { packets: self.packets, lost: self.excess })
    }
}

/// The loss rate of the path itself. Before it is measured, any loss may be that of the path: for about two seconds
/// after a connection has resumed at a rate from the cache.
pub(super) fn base_loss(congestion: &Handle) -> f64 {
    match congestion.choice() {
        Choice::Auto => congestion.measured().loss.unwrap_or(1.0),
        // They can't tell: they do not send less from time to time.
        Choice::Fixed(_) | Choice::Cubic => 0.0,
    }
}

/// The client's choice within the operator's limit.
pub(super) fn within_limit(choice: Choice, limit: Rate) -> Choice {
    let granted = choice.capped(Some(limit));
    match choice {
        Choice::Fixed(stated) if granted != choice => {
            tracing::info!("the client states {stated}; fixed_rate_limit makes that {limit}");
        }
        _ => tracing::debug!(choice = ?granted, "congestion control"),
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn memory(rate: &str) -> PathMemory {
        PathMemory { rate: rate.parse().unwrap(), min_rtt: Duration::from_millis(200) }
    }

    /// A connection from 192.0.2.1, and a function that returns its client's cached measurement for an address.
    fn connection(now: Instant) -> (PathObserver, impl Fn(&str, Instant) -> Option<PathMemory>) {
        let (path_cache, client) = (Arc::new(PathCache::default()), "laptop".parse::<ClientName>().unwrap());
        let observer = PathObserver::start(
            Handle::default(),
            Arc::clone(&path_cache),
            client.clone(),
            address("192.0.2.1:1000"),
            now,
        );
        let cached = move |ip: &str, now| path_cache.get(&client, Network::of(ip.parse().unwrap()), now);
        (observer, cached)
    }

    #[test]
    fn a_measurement_is_cached_for_the_clients_network() {
        let now = Instant::now();
        let (mut observer, cached) = connection(now);
        observer.observe(address("192.0.2.1:1000"), None, now);
        assert_eq!(cached("192.0.2.1", now), None);
        observer.observe(address("192.0.2.1:1000"), Some(memory("50 Mbit/s")), now);
        assert_eq!(cached("192.0.2.1", now), Some(memory("50 Mbit/s")));
    }

    #[test]
    fn after_a_migration_the_old_paths_measurement_is_not_cached() {
        let now = Instant::now();
        let (mut observer, cached) = connection(now);
        let elsewhere = address("198.51.100.1:1000");
        observer.observe(elsewhere, Some(memory("50 Mbit/s")), now);
        observer.observe(elsewhere, Some(memory("50 Mbit/s")), now);
        assert_eq!((cached("192.0.2.1", now), cached("198.51.100.1", now)), (None, None));
        observer.observe(elsewhere, Some(memory("9 Mbit/s")), now);
        assert_eq!(cached("198.51.100.1", now), Some(memory("9 Mbit/s")));
    }

    #[test]
    fn an_idle_connection_does_not_renew_its_measurement() {
        let start = Instant::now();
        let (mut observer, cached) = connection(start);
        for minute in 0..=60 {
            let now = start + Duration::from_secs(60 * minute);
            observer.observe(address("192.0.2.1:1000"), Some(memory("50 Mbit/s")), now);
        }
        assert_eq!(cached("192.0.2.1", start + Duration::from_secs(61 * 60)), None);
    }

    #[test]
    fn what_the_path_loses_at_any_rate_is_not_told() {
        let mut notices = LossNotices::default();
        let mut path = Path::default();
        let mut told = |packets, lost, base| {
            path.packets_sent += packets;
            path.packets_lost += lost;
            notices.next(&path, base)
        };
        let sent = |packets, lost| Some(ControlMessage::Sent { packets, lost });
        assert_eq!(told(1000, 100, 0.1), sent(1000, 0), "chance");
        assert_eq!(told(1000, 90, 0.1), sent(2000, 0), "less than usual");
        assert_eq!(told(1000, 240, 0.0), sent(3000, 240), "a policer");
        assert_eq!(told(99, 50, 0.0), None, "little");
        assert_eq!(told(901, 150, 0.1), sent(4000, 340), "both");
    }

    #[test]
    fn a_fixed_rate_is_capped_at_the_limit() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        let limit = rate("200 Mbit/s");
        for (choice, expected) in [
            (Choice::Fixed(rate("500 Mbit/s")), Choice::Fixed(limit)),
            (Choice::Fixed(rate("95 Mbit/s")), Choice::Fixed(rate("95 Mbit/s"))),
            (Choice::Auto, Choice::Auto),
            (Choice::Cubic, Choice::Cubic),
        ] {
            assert_eq!(within_limit(choice, limit), expected);
        }
    }
}
