//! The addresses of a host: their order, and when each is tried (RFC 8305, sections 4 and 5).
//!
//! Pure: the time is an argument.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The Connection Attempt Delay: the time before the next address is tried beside one that does not answer yet. It is
/// what RFC 8305 recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses that are tried, at most. A name may have any number of them.
pub const CANDIDATES_MAX: usize = 8;

/// The addresses of one host, tried and still to be tried.
#[derive(Debug)]
pub(super) struct Candidates {
    waiting: VecDeque<SocketAddr>,
    tried: Vec<SocketAddr>,
    last_good: Option<SocketAddr>,
    is_resolved: bool,
    next_at: Instant,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start an attempt.
    Start(SocketAddr),
    /// Nothing until this time, or until something else happens.
    WaitUntil(Instant),
    /// Nothing until the host is resolved.
    Wait,
    /// All were tried.
    Exhausted,
}

impl Candidates {
    /// A host that is being resolved from `now` on. If that takes long, its last good address is tried meanwhile.
    pub(super) fn new(last_good: Option<SocketAddr>, now: Instant) -> Self {
        let waiting = last_good.into_iter().collect();
        Self { waiting, tried: Vec::new(), last_good, is_resolved: false, next_at: now + ATTEMPT_DELAY }
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.is_resolved
    }

    /// The host has these addresses, in the order of preference; none if it could not be resolved. The families take
    /// turns. The last good address comes first if it is one of them. Otherwise it comes second: then the host has
    /// moved, or the resolver lies.
    pub(super) fn resolved(&mut self, addresses: impl Iterator<Item = SocketAddr>, now: Instant) {
        let mut addresses = interleave(addresses);
        if let Some(last_good) = self.last_good {
            let found = addresses.iter().position(|address| *address == last_good);
            let place = if let Some(found) = found {
                addresses.remove(found);
                0
            } else {
                addresses.len().min(1)
            };
            addresses.insert(place, last_good);
        }
        addresses.truncate(CANDIDATES_MAX);
        addresses.retain(|address| !self.tried.contains(address));
        self.waiting = addresses;
        self.is_resolved = true;
        if self.tried.is_empty() {
            self.next_at = now;
        }
    }

    /// An attempt has failed, so the next one starts at once.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next_at = now;
    }

    /// What to do at this time. A started attempt counts as tried.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self.waiting.front() {
            None if self.is_resolved => Next::Exhausted,
            None => Next::Wait,
            Some(_) if now < self.next_at => Next::WaitUntil(self.next_at),
            Some(address) => {
                let address = *address;
                self.waiting.pop_front();
                self.tried.push(address);
                self.next_at = now + ATTEMPT_DELAY;
                Next::Start(address)
            }
        }
    }
}

/// The families take turns, the first address's family first.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut addresses = addresses.peekable();
    let Some(first_is_ipv6) = addresses.peek().map(SocketAddr::is_ipv6) else { return VecDeque::new() };
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut interleaved = VecDeque::new();
    while !first.is_empty() || !second.is_empty() {
        for family in [&mut first, &mut second] {
            // A resolver may name an address twice.
            if let Some(address) = family.pop_front().filter(|address| !interleaved.contains(address)) {
                interleaved.push_back(address);
            }
        }
    }
    interleaved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| format!("{text}:1").parse().unwrap()).collect()
    }

    /// The attempts of a host with these addresses, if none of them answers: when each starts, in milliseconds.
    fn silent(last_good: Option<&str>, resolved: &[&str]) -> Vec<(u128, String)> {
        let start = Instant::now();
        let last_good = last_good.map(|address| addresses(&[address])[0]);
        let mut candidates = Candidates::new(last_good, start);
        candidates.resolved(addresses(resolved).into_iter(), start);
        run(&mut candidates, start, start)
    }

    fn run(candidates: &mut Candidates, start: Instant, mut now: Instant) -> Vec<(u128, String)> {
        let mut started = Vec::new();
        loop {
            match candidates.next(now) {
                Next::Start(address) => started.push(((now - start).as_millis(), address.ip().to_string())),
                Next::WaitUntil(time) => now = time,
                Next::Wait | Next::Exhausted => return started,
            }
        }
    }

    fn at(expected: &[(u128, &str)]) -> Vec<(u128, String)> {
        expected.iter().map(|(time, address)| (*time, (*address).to_owned())).collect()
    }

    #[test]
    fn families_take_turns_a_quarter_of_a_second_apart() {
        assert_eq!(
            silent(None, &["[::1]", "[::2]", "[::1]", "[::3]", "1.1.1.1", "2.2.2.2"]),
            at(&[(0, "::1"), (250, "1.1.1.1"), (500, "::2"), (750, "2.2.2.2"), (1000, "::3")])
        );
        assert_eq!(silent(None, &["1.1.1.1", "[::1]"]), at(&[(0, "1.1.1.1"), (250, "::1")]));
        assert_eq!(silent(None, &[]), []);
    }

    #[test]
    fn the_last_good_address_is_first_if_it_is_still_the_host_s_and_second_otherwise() {
        let two = ["[::1]", "1.1.1.1"];
        assert_eq!(silent(Some("1.1.1.1"), &two), at(&[(0, "1.1.1.1"), (250, "::1")]));
        assert_eq!(silent(Some("9.9.9.9"), &two), at(&[(0, "::1"), (250, "9.9.9.9"), (500, "1.1.1.1")]));
        assert_eq!(silent(Some("9.9.9.9"), &[]), at(&[(0, "9.9.9.9")]));
    }

    #[test]
    fn a_failed_attempt_is_followed_by_the_next_at_once() {
        let start = Instant::now();
        let mut candidates = Candidates::new(None, start);
        candidates.resolved(addresses(&["[::1]", "1.1.1.1"]).into_iter(), start);
        assert!(matches!(candidates.next(start), Next::Start(_)));
        let now = start + Duration::from_millis(3);
        candidates.failed(now);
        assert_eq!(run(&mut candidates, start, now), at(&[(3, "1.1.1.1")]));
    }

    #[test]
    fn a_slow_resolver_does_not_keep_the_last_good_address_from_being_tried() {
        let start = Instant::now();
        let mut candidates = Candidates::new(Some(addresses(&["9.9.9.9"])[0]), start);
        assert_eq!(candidates.next(start), Next::WaitUntil(start + ATTEMPT_DELAY));
        assert_eq!(run(&mut candidates, start, start), at(&[(250, "9.9.9.9")]));
        let late = start + Duration::from_secs(2);
        candidates.resolved(addresses(&["1.1.1.1", "9.9.9.9"]).into_iter(), late);
        assert_eq!(run(&mut candidates, start, late), at(&[(2000, "1.1.1.1")]));
        let mut unknown = Candidates::new(None, start);
        assert_eq!(unknown.next(late), Next::Wait);
    }

    #[test]
    fn a_name_with_very_many_addresses_costs_few_attempts() {
        let many: Vec<String> = (0..100).map(|n| format!("1.1.1.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(silent(Some("9.9.9.9"), &many).len(), CANDIDATES_MAX);
    }
}
