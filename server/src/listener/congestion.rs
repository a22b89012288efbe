//! One connection's congestion control as the house sees it: what its client wishes, what is known
//! of the way to it, and what of its findings is kept.
//!
//! Must never say how fast to send; that is `docxy_protocol::congestion`'s.

use super::paths::{Network, Paths};
use docxy_protocol::congestion::{Choice, Handle, PathMemory, Rate};
use docxy_protocol::link::ClientName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Keeps what one connection finds out, for the next one.
pub(super) struct Observer {
    handle: Handle,
    paths: Arc<Paths>,
    client: ClientName,
    remote: SocketAddr,
    /// What was last seen of the handle's findings.
    seen: Option<PathMemory>,
}

impl Observer {
    /// Begins with what is remembered of the way from `remote`.
    pub(super) fn begin(
        handle: Handle,
        paths: Arc<Paths>,
        client: ClientName,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        let observer = Self { handle, paths, client, remote, seen: None };
        observer.recall(now);
        observer
    }

    /// Takes note of where the client is by now, and of what was found since the last time.
    pub(super) fn update(&mut self, remote: SocketAddr, now: Instant) {
        self.observe(remote, self.handle.measured().memory, now);
    }

    /// The same for the last time, and tells what was found.
    pub(super) fn end(mut self, remote: SocketAddr, now: Instant) {
        self.update(remote, now);
        let found = self.handle.measured();
        tracing::debug!(
            phase = found.phase,
            rate = found.rate.map(tracing::field::display),
            min_rtt = found.min_rtt.map(tracing::field::debug),
            loss = found.loss,
            "congestion control at the end"
        );
    }

    fn observe(&mut self, remote: SocketAddr, memory: Option<PathMemory>, now: Instant) {
        if remote != self.remote {
            // quinn begins anew there, but the findings are those of the old way until something
            // was acknowledged on the new one: they are nobody's.
            tracing::debug!(%remote, "the client has moved");
            self.remote = remote;
            self.recall(now);
        } else if let Some(memory) = memory.filter(|_| memory != self.seen) {
            self.paths.remember(&self.client, Network::of(remote.ip()), memory, now);
        }
        // The same again is an idle connection's, and must not make an old finding look new.
        self.seen = memory;
    }

    fn recall(&self, now: Instant) {
        if let Some(memory) = self.paths.recall(&self.client, Network::of(self.remote.ip()), now) {
            tracing::info!(rate = %memory.rate, min_rtt = ?memory.min_rtt, "this way is known");
            self.handle.recall(memory);
        }
    }
}

/// What comes of a client's wish where the operator has set a limit.
pub(super) fn granted(wish: Choice, limit: Rate) -> Choice {
    let granted = wish.capped(Some(limit));
    match wish {
        Choice::Fixed(stated) if granted != wish => {
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

    /// A connection from 192.0.2.1, and what is remembered for its client at any address.
    fn connection(now: Instant) -> (Observer, impl Fn(&str, Instant) -> Option<PathMemory>) {
        let (paths, client) = (Arc::new(Paths::default()), "laptop".parse::<ClientName>().unwrap());
        let observer = Observer::begin(
            Handle::default(),
            Arc::clone(&paths),
            client.clone(),
            address("192.0.2.1:1000"),
            now,
        );
        let known = move |ip: &str, now| paths.recall(&client, Network::of(ip.parse().unwrap()), now);
        (observer, known)
    }

    #[test]
    fn what_is_found_is_kept_for_where_the_client_is() {
        let now = Instant::now();
        let (mut observer, known) = connection(now);
        observer.observe(address("192.0.2.1:1000"), None, now);
        assert_eq!(known("192.0.2.1", now), None);
        observer.observe(address("192.0.2.1:1000"), Some(memory("50 Mbit/s")), now);
        assert_eq!(known("192.0.2.1", now), Some(memory("50 Mbit/s")));
    }

    #[test]
    fn after_a_move_the_old_way_s_findings_are_not_taken_for_the_new_one_s() {
        let now = Instant::now();
        let (mut observer, known) = connection(now);
        let elsewhere = address("198.51.100.1:1000");
        observer.observe(elsewhere, Some(memory("50 Mbit/s")), now);
        observer.observe(elsewhere, Some(memory("50 Mbit/s")), now);
        assert_eq!((known("192.0.2.1", now), known("198.51.100.1", now)), (None, None));
        observer.observe(elsewhere, Some(memory("9 Mbit/s")), now);
        assert_eq!(known("198.51.100.1", now), Some(memory("9 Mbit/s")));
    }

    #[test]
    fn a_connection_that_is_idle_does_not_renew_what_it_once_found() {
        let start = Instant::now();
        let (mut observer, known) = connection(start);
        for minute in 0..=60 {
            let now = start + Duration::from_secs(60 * minute);
            observer.observe(address("192.0.2.1:1000"), Some(memory("50 Mbit/s")), now);
        }
        assert_eq!(known("192.0.2.1", start + Duration::from_secs(61 * 60)), None);
    }

    #[test]
    fn a_stated_rate_is_granted_up_to_the_limit() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        let limit = rate("200 Mbit/s");
        for (wish, expected) in [
            (Choice::Fixed(rate("500 Mbit/s")), Choice::Fixed(limit)),
            (Choice::Fixed(rate("95 Mbit/s")), Choice::Fixed(rate("95 Mbit/s"))),
            (Choice::Auto, Choice::Auto),
            (Choice::Cubic, Choice::Cubic),
        ] {
            assert_eq!(granted(wish, limit), expected);
        }
    }
}
