//! Which server, and which of its addresses, is tried next. Pure: the time comes in.
//!
//! A server that refuses us must not keep us from the others, and what has worked is tried first.

use std::time::Instant;

/// The servers that were joined, and what is known of each.
#[derive(Debug)]
pub(super) struct Course {
    servers: Vec<Server>,
    turn: usize,
}

#[derive(Debug, Clone, Default)]
struct Server {
    /// Counts up with each failure, and so goes round its addresses and ports.
    attempt: usize,
    refused_until: Option<Instant>,
}

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) server: usize,
    pub(super) attempt: usize,
}

impl Course {
    pub(super) fn new(servers: usize) -> Self {
        Self { servers: vec![Server::default(); servers], turn: 0 }
    }

    /// The next server that doesn't refuse us.
    ///
    /// # Errors
    /// Where all do: the time at which the first may be asked again.
    pub(super) fn next(&self, now: Instant) -> Result<Target, Instant> {
        let count = self.servers.len();
        let in_turn = (0..count).map(|step| (self.turn + step) % count);
        let open = |server: &usize| self.servers[*server].refused_until.is_none_or(|until| until <= now);
        match in_turn.clone().find(open) {
            Some(server) => Ok(Target { server, attempt: self.servers[server].attempt }),
            None => Err(in_turn.filter_map(|s| self.servers[s].refused_until).min().unwrap_or(now)),
        }
    }

    /// It didn't work: another address of it, after the other servers.
    pub(super) fn failed(&mut self, target: Target) {
        self.servers[target.server].attempt += 1;
        self.turn = target.server + 1;
    }

    /// It doesn't want us, for now.
    pub(super) fn refused(&mut self, target: Target, until: Instant) {
        self.servers[target.server].refused_until = Some(until);
        self.turn = target.server + 1;
    }

    /// It works: the same again next time.
    pub(super) fn worked(&mut self, target: Target) {
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
        let mut course = Course::new(2);
        let now = Instant::now();
        let mut tried = Vec::new();
        for _ in 0..4 {
            let target = course.next(now).unwrap();
            tried.push((target.server, target.attempt));
            course.failed(target);
        }
        assert_eq!(tried, [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }

    #[test]
    fn what_has_worked_is_tried_first_after_a_loss() {
        let mut course = Course::new(2);
        let now = Instant::now();
        course.failed(course.next(now).unwrap());
        let second = course.next(now).unwrap();
        course.worked(second);
        assert_eq!(course.next(now).unwrap(), second);
    }

    #[test]
    fn a_server_that_refuses_is_passed_over_until_it_may_have_changed_its_mind() {
        let mut course = Course::new(2);
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let first = course.next(now).unwrap();
        course.refused(first, now + minute);
        for _ in 0..3 {
            let target = course.next(now).unwrap();
            assert_eq!(target.server, 1);
            course.failed(target);
        }
        let second = course.next(now).unwrap();
        course.refused(second, now + 2 * minute);
        assert_eq!(course.next(now), Err(now + minute));
        assert_eq!(course.next(now + minute).unwrap().server, 0);
    }
}
