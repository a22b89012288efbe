//! Selects the server and the address of the next attempt. Pure: the time is an argument.
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
    /// Grows with each failure, and selects the next address and port.
    attempt: usize,
    refused_until: Option<Instant>,
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
        let count = self.servers.len();
        let in_turn = (0..count).map(|step| (self.turn + step) % count);
        let open = |server: &usize| self.servers[*server].refused_until.is_none_or(|until| until <= now);
        match in_turn.clone().find(open) {
            Some(server) => Ok(DialTarget { server, attempt: self.servers[server].attempt }),
            None => Err(in_turn.filter_map(|s| self.servers[s].refused_until).min().unwrap_or(now)),
        }
    }

    /// The attempt failed: try its next address after the other servers.
    pub(super) fn failed(&mut self, target: DialTarget) {
        self.servers[target.server].attempt += 1;
        self.turn = target.server + 1;
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
    fn servers_take_turns_and_so_do_their_addresses() {
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
