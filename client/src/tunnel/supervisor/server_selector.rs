//! Selects the server and the port of the next attempt. Pure: the time is an argument.
//!
//! A server that refuses this client must not keep it from the others. The server that worked last is tried
//! first.

use std::time::Instant;

/// The servers, with the result of the last attempts.
#[derive(Debug)]
pub(super) struct ServerSelector {
    servers: Vec<Server>,
    turn: usize,
}

#[derive(Debug, Clone, Default)]
struct Server {
    /// Grows with each failure, and selects the next port.
    attempt: usize,
    refused_until: Option<Instant>,
    drains_until: Option<Instant>,
}

/// The server and the attempt number to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DialTarget {
    pub(super) server: usize,
    pub(super) attempt: usize,
}

impl ServerSelector {
    pub(super) fn new(servers: usize) -> Self {
        Self { servers: vec![Server::default(); servers], turn: 0 }
    }

    /// The next server that does not refuse this client.
    ///
    /// # Errors
    /// If all refuse: when the first may be dialed again.
    pub(super) fn next(&self, now: Instant) -> Result<DialTarget, Instant> {
        match self.in_turn().find(|server| self.is_open(*server, now)) {
            Some(server) => Ok(self.target(server)),
            None => Err(self.servers.iter().filter_map(|server| server.refused_until).min().unwrap_or(now)),
        }
    }

    fn in_turn(&self) -> impl Iterator<Item = usize> {
        let count = self.servers.len();
        (0..count).map(move |step| (self.turn + step) % count)
    }

    fn is_open(&self, server: usize, now: Instant) -> bool {
        self.servers[server].refused_until.is_none_or(|until| until <= now)
    }

    fn target(&self, server: usize) -> DialTarget {
        DialTarget { server, attempt: self.servers[server].attempt }
    }

    /// The attempt failed: try its next port after the other servers.
    pub(super) fn failed(&mut self, target: DialTarget) {
        self.servers[target.server].attempt += 1;
        self.turn = target.server + 1;
    }

    /// The server ends: try the others first, and then the same address, where the next process may listen.
    pub(super) fn ends(&mut self, target: DialTarget) {
        self.turn = target.server + 1;
    }

    /// The server drains until then at the latest, and serves this client until it ends.
    pub(super) fn drains(&mut self, target: DialTarget, until: Instant) {
        self.servers[target.server].drains_until = Some(until);
    }

    /// The next server other than this one that does not refuse this client, and does not drain: between servers that
    /// drain, a client would move back and forth.
    pub(super) fn next_other(&self, than: DialTarget, now: Instant) -> Option<DialTarget> {
        let drains = |server: usize| self.servers[server].drains_until.is_some_and(|until| now < until);
        let mut others = self.in_turn().filter(|server| *server != than.server && !drains(*server));
        others.find(|server| self.is_open(*server, now)).map(|server| self.target(server))
    }

    /// The server refuses this client: skip it until then.
    pub(super) fn refused(&mut self, target: DialTarget, until: Instant) {
        self.servers[target.server].refused_until = Some(until);
        self.turn = target.server + 1;
    }

    /// The session came up: dial the same next time.
    pub(super) fn worked(&mut self, target: DialTarget) {
        self.servers[target.server].refused_until = None;
        self.turn = target.server;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn servers_take_turns_and_so_do_their_ports() {
        let mut server_selector = ServerSelector::new(2);
        let now = Instant::now();
        let mut tried = Vec::new();
        for _ in 0..4 {
            let target = server_selector.next(now).unwrap();
            tried.push((target.server, target.attempt));
            server_selector.failed(target);
        }
        assert_eq!(tried, [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }

    #[test]
    fn the_server_that_worked_is_dialed_first() {
        let mut server_selector = ServerSelector::new(2);
        let now = Instant::now();
        server_selector.failed(server_selector.next(now).unwrap());
        let second = server_selector.next(now).unwrap();
        server_selector.worked(second);
        assert_eq!(server_selector.next(now).unwrap(), second);
    }

    #[test]
    fn a_server_that_ends_is_dialed_after_the_others_and_at_the_same_address() {
        let now = Instant::now();
        let mut alone = ServerSelector::new(1);
        let only = alone.next(now).unwrap();
        alone.ends(only);
        assert_eq!((alone.next(now).unwrap(), alone.next_other(only, now)), (only, None));
        let mut three = ServerSelector::new(3);
        let first = three.next(now).unwrap();
        three.ends(first);
        let second = three.next(now).unwrap();
        assert_eq!((second.server, three.next_other(first, now)), (1, Some(second)));
        three.refused(second, now + Duration::from_secs(60));
        assert_eq!(three.next_other(first, now).unwrap().server, 2);
        three.failed(three.next(now).unwrap());
        assert_eq!(three.next(now).unwrap(), first);
    }

    #[test]
    fn a_client_does_not_move_to_a_server_that_drains_but_may_dial_it() {
        let (now, limit) = (Instant::now(), Duration::from_secs(30));
        let mut server_selector = ServerSelector::new(2);
        let first = server_selector.next(now).unwrap();
        server_selector.drains(first, now + limit);
        let second = server_selector.next_other(first, now).unwrap();
        assert_eq!(server_selector.next_other(second, now), None);
        assert_eq!(server_selector.next_other(second, now + limit), Some(first));
        assert_eq!(server_selector.next(now).unwrap(), first);
    }

    #[test]
    fn a_server_that_refuses_is_skipped_for_a_while() {
        let mut server_selector = ServerSelector::new(2);
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let first = server_selector.next(now).unwrap();
        server_selector.refused(first, now + minute);
        for _ in 0..3 {
            let target = server_selector.next(now).unwrap();
            assert_eq!(target.server, 1);
            server_selector.failed(target);
        }
        let second = server_selector.next(now).unwrap();
        server_selector.refused(second, now + 2 * minute);
        assert_eq!(server_selector.next(now), Err(now + minute));
        assert_eq!(server_selector.next(now + minute).unwrap().server, 0);
    }
}
