//! Selects the server of each request, and the servers that are kept connected. Pure: the time is an argument.
//!
//! Must never select a server that a request's credential may not go to: its caller offers no such server.

use crate::tunnel::config::Trust;
use crate::tunnel::server::{Condition, ServerId};
use std::time::{Duration, Instant};

/// Servers that are connected at the same time. An idle connection costs about 60 bytes a second in each direction.
/// Two are enough to survive the loss of one, and the others carry more where each is slow.
pub(in crate::tunnel) const CONNECTED_MAX: usize = 4;

/// Another server is better only if its round trip is shorter by more than a fifth and by [`ROUND_TRIP_SLACK`]: less is
/// noise. The server in use may also be this much worse before it is left.
const ROUND_TRIP_RATIO: f64 = 1.25;

/// See [`ROUND_TRIP_RATIO`]. On short paths, the processors of both sides make more of the round trip than the path.
const ROUND_TRIP_SLACK: Duration = Duration::from_millis(10);

/// A body goes to the nearest server if it gets this share there of what it would get elsewhere: rates are known to
/// about a third.
const RATE_RATIO: f64 = 0.7;

/// After this time, a measured rate says nothing any more. Until then it counts less and less: a server that was slow
/// once must be tried again.
const RATE_LIFETIME: Duration = Duration::from_secs(600);

/// A server that may be selected.
#[derive(Debug, Clone, Copy)]
pub(in crate::tunnel) struct Candidate {
    pub(in crate::tunnel) id: ServerId,
    pub(in crate::tunnel) condition: Condition,
    pub(in crate::tunnel) round_trip: Duration,
    /// What it has sent to this client lately, in bytes per second, and when that was measured.
    pub(in crate::tunnel) goodput: Option<(f64, Instant)>,
    /// The large bodies that come from it.
    pub(in crate::tunnel) bodies: usize,
}

/// Remembers the server in use, so that requests do not move back and forth between equal ones.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct Selector {
    in_use: Option<ServerId>,
    /// The server that the user wants to be used while no other one is in a better condition.
    pub(in crate::tunnel) preferred: Option<ServerId>,
}

impl Selector {
    /// The best of all servers, which are in the order of their links: the one that is used from now on.
    pub(in crate::tunnel) fn choose(&mut self, all: &[Candidate]) -> Option<ServerId> {
        self.in_use = self.nearest(all);
        self.in_use
    }

    fn preferred_of(&self, best: &[&Candidate]) -> Option<ServerId> {
        self.preferred.filter(|preferred| best.iter().any(|candidate| candidate.id == *preferred))
    }

    /// The best of some servers for a small request: the nearest of those in the best condition. Of those that are
    /// about as near, the first.
    pub(in crate::tunnel) fn nearest(&self, some: &[Candidate]) -> Option<ServerId> {
        let best = in_best_condition(some);
        if let Some(preferred) = self.preferred_of(&best) {
            return Some(preferred);
        }
        let shortest = best.iter().map(|candidate| candidate.round_trip).min()?;
        let limit = |ratio: f64, slack| shortest.mul_f64(ratio) + slack;
        let near = limit(ROUND_TRIP_RATIO, ROUND_TRIP_SLACK);
        let still_near = limit(ROUND_TRIP_RATIO * ROUND_TRIP_RATIO, 2 * ROUND_TRIP_SLACK);
        let first_near = best.iter().find(is_near(near))?;
        let used =
            best.iter().filter(is_near(still_near)).find(|candidate| Some(candidate.id) == self.in_use);
        // The order of `best` is that of the links.
        let used = used.filter(|used| {
            let position = |wanted: ServerId| best.iter().position(|candidate| candidate.id == wanted);
            position(used.id) < position(first_near.id)
        });
        Some(used.unwrap_or(first_near).id)
    }

    /// The server for a large body: the one from which it gets most. The bodies of a server share what it sends, so
    /// bodies spread over the servers by what each gives.
    pub(in crate::tunnel) fn for_body(&self, some: &[Candidate], now: Instant) -> Option<ServerId> {
        let best = in_best_condition(some);
        if let Some(preferred) = self.preferred_of(&best) {
            return Some(preferred);
        }
        let highest = best.iter().filter_map(|one| one.goodput).map(|(rate, _)| rate).fold(1.0, f64::max);
        let share =
            |candidate: &Candidate| rate(candidate.goodput, highest, now) / (candidate.bodies + 1) as f64;
        let most = best.iter().map(|candidate| share(candidate)).fold(0.0, f64::max);
        let nearest = self.nearest(some)?;
        let is_enough = |candidate: &&&Candidate| share(candidate) >= most * RATE_RATIO;
        let enough: Vec<_> = best.iter().filter(is_enough).collect();
        let chosen = enough.iter().find(|candidate| candidate.id == nearest);
        chosen.or_else(|| enough.iter().min_by_key(|candidate| candidate.round_trip)).map(|one| one.id)
    }
}

fn is_near(limit: Duration) -> impl Fn(&&&Candidate) -> bool {
    move |candidate| candidate.round_trip <= limit
}

/// What a server is expected to send: what it has sent lately, and the more of `highest` the longer ago that was.
fn rate(measured: Option<(f64, Instant)>, highest: f64, now: Instant) -> f64 {
    let Some((rate, at)) = measured else { return highest };
    let age = now.saturating_duration_since(at).as_secs_f64() / RATE_LIFETIME.as_secs_f64();
    rate.max(highest * age.min(1.0))
}

fn in_best_condition(some: &[Candidate]) -> Vec<&Candidate> {
    let best = some.iter().map(|candidate| candidate.condition).max();
    some.iter().filter(|candidate| Some(candidate.condition) == best).collect()
}

/// How a server stands, for [`wanted`].
#[derive(Debug, Clone, Copy)]
pub(in crate::tunnel) struct Standing {
    /// Whether it has no session, although one was dialed.
    pub(in crate::tunnel) fails: bool,
    pub(in crate::tunnel) trust: Trust,
}

/// Which servers are to be connected, in the order of their links: the first [`CONNECTED_MAX`] that do not fail, and
/// those before them, which may come back. The others are spare. One is trusted, if there is such a server that does
/// not fail.
pub(in crate::tunnel) fn wanted(standings: &[Standing]) -> Vec<bool> {
    let mut connected = 0;
    let mut wanted: Vec<bool> = Vec::with_capacity(standings.len());
    for standing in standings {
        wanted.push(connected < CONNECTED_MAX);
        connected += usize::from(!standing.fails);
    }
    let is_usable = |standing: &Standing| !standing.fails && standing.trust == Trust::Trusted;
    if let Some(trusted) = standings.iter().position(is_usable) {
        wanted[trusted] = true;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn candidate(id: u64, round_trip: u32) -> Candidate {
        Candidate {
            id: ServerId(id),
            condition: Condition::Good,
            round_trip: MS * round_trip,
            goodput: None,
            bodies: 0,
        }
    }

    fn with_rate(id: u64, rate: f64, at: Instant) -> Candidate {
        Candidate { goodput: Some((rate, at)), ..candidate(id, 200) }
    }

    /// The bodies of each server after so many have begun and none has ended.
    fn spread(mut servers: Vec<Candidate>, bodies: usize, now: Instant) -> Vec<usize> {
        let mut selector = Selector::default();
        selector.choose(&servers);
        for _ in 0..bodies {
            let chosen = selector.for_body(&servers, now).unwrap();
            servers.iter_mut().find(|server| server.id == chosen).unwrap().bodies += 1;
        }
        servers.iter().map(|server| server.bodies).collect()
    }

    #[test]
    fn the_nearest_server_is_used_and_of_equal_ones_the_first() {
        let choose = |round_trips: &[u32]| {
            let servers: Vec<_> = (0..).zip(round_trips).map(|(id, ms)| candidate(id, *ms)).collect();
            Selector::default().choose(&servers).map(|id| id.0)
        };
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[200, 100]), Some(1));
        assert_eq!(choose(&[130, 100]), Some(0));
        assert_eq!(choose(&[1, 0, 0]), Some(0));
        assert_eq!(choose(&[200, 120, 100]), Some(1));
    }

    #[test]
    fn the_server_in_use_is_left_only_for_one_that_is_clearly_better() {
        let mut selector = Selector::default();
        let mut choose = |first: u32, second: u32| {
            selector.choose(&[candidate(0, first), candidate(1, second)]).unwrap().0
        };
        assert_eq!(choose(200, 190), 0);
        assert_eq!(choose(270, 190), 0, "a queue of its own bodies");
        assert_eq!(choose(400, 190), 1);
        assert_eq!(choose(270, 190), 1);
        assert_eq!(choose(200, 190), 0, "the first again");
    }

    #[test]
    fn a_server_in_a_better_condition_comes_first() {
        let mut servers = [candidate(0, 10), candidate(1, 300), candidate(2, 10)];
        let conditions = [Condition::Silent, Condition::Greeting, Condition::Draining, Condition::Good];
        for pair in conditions.windows(2) {
            for server in &mut servers {
                server.condition = pair[0];
            }
            servers[1].condition = pair[1];
            let selector = Selector::default();
            assert_eq!(selector.nearest(&servers), Some(ServerId(1)), "{pair:?}");
            assert_eq!(selector.for_body(&servers, Instant::now()), Some(ServerId(1)), "{pair:?}");
        }
    }

    #[test]
    fn the_preferred_server_is_used_for_everything_while_it_is_well() {
        let now = Instant::now();
        let selector = Selector { in_use: None, preferred: Some(ServerId(1)) };
        let mut servers = [with_rate(0, 4e6, now), candidate(1, 900)];
        assert_eq!(
            (selector.nearest(&servers), selector.for_body(&servers, now)),
            (Some(ServerId(1)), Some(ServerId(1)))
        );
        servers[1].condition = Condition::Silent;
        assert_eq!(
            (selector.nearest(&servers), selector.for_body(&servers, now)),
            (Some(ServerId(0)), Some(ServerId(0)))
        );
    }

    #[test]
    fn bodies_spread_by_what_each_server_gives() {
        let now = Instant::now();
        assert_eq!(spread(vec![candidate(0, 200), candidate(1, 20)], 1, now), [0, 1]);
        assert_eq!(spread(vec![candidate(0, 200), candidate(1, 200)], 5, now), [3, 2]);
        let unequal = vec![with_rate(0, 1e6, now), with_rate(1, 4e6, now)];
        assert_eq!(spread(unequal, 10, now), [2, 8]);
        let unknown = vec![with_rate(0, 4e6, now), candidate(1, 200)];
        assert_eq!(spread(unknown, 10, now), [6, 4]);
    }

    #[test]
    fn a_server_that_was_slow_once_is_tried_again() {
        let (now, minutes) = (Instant::now(), |n: u64| Duration::from_secs(60 * n));
        let at = |age| vec![with_rate(0, 4e6, now + age), with_rate(1, 4e4, now)];
        assert_eq!(spread(at(Duration::ZERO), 8, now), [8, 0]);
        assert_eq!(spread(at(minutes(5)), 9, now + minutes(5)), [7, 2]);
        assert_eq!(spread(at(minutes(20)), 8, now + minutes(20)), [5, 3]);
    }

    #[test]
    fn a_spare_server_is_dialed_when_one_fails() {
        let up = Standing { fails: false, trust: Trust::Untrusted };
        let trusted = Standing { trust: Trust::Trusted, ..up };
        let failed = |standing| Standing { fails: true, ..standing };
        let count = |standings: &[Standing]| wanted(standings).iter().filter(|wanted| **wanted).count();
        assert_eq!(wanted(&[trusted, up]), [true, true]);
        assert_eq!(wanted(&[trusted, up, up, up, up, up]), [true, true, true, true, false, false]);
        assert_eq!(wanted(&[trusted, failed(up), up, up, up, up]), [true, true, true, true, true, false]);
        assert_eq!(wanted(&[failed(trusted), up, up, up, up, trusted]), [true; 6]);
        assert_eq!(
            wanted(&[failed(trusted), up, up, up, up, up, trusted]).iter().filter(|w| !**w).count(),
            1
        );
        assert_eq!(count(&[failed(up); 9]), 9);
    }

    /// The time of a selection, in seconds after the first measurement.
    const LATEST: u64 = 2000;

    prop_compose! {
        fn any_candidate(since: Instant)(
            id in 0_u64..6,
            condition in prop::sample::select(vec![
                Condition::Silent, Condition::Greeting, Condition::Draining, Condition::Good,
            ]),
            round_trip in 0_u32..500,
            goodput in prop::option::of((0.0..1e8, 0..LATEST)),
            bodies in 0_usize..200,
        ) -> Candidate {
            let goodput = goodput.map(|(rate, at)| (rate, since + Duration::from_secs(at)));
            Candidate { condition, goodput, bodies, ..candidate(id, round_trip) }
        }
    }

    proptest! {
        /// Some server is always selected, it is one of those in the best condition, and a body gets at least
        /// [`RATE_RATIO`] of what it would get from any other.
        #[test]
        fn the_selection_is_good_in_any_situation(
            (since, servers) in Just(Instant::now())
                .prop_flat_map(|since| (Just(since), prop::collection::vec(any_candidate(since), 1..6))),
            in_use in prop::option::of(0_u64..6),
        ) {
            let now = since + Duration::from_secs(LATEST);
            let selector = Selector { in_use: in_use.map(ServerId), preferred: None };
            let best = servers.iter().map(|server| server.condition).max().unwrap();
            let of = |id: ServerId| {
                servers.iter().filter(move |server| server.id == id && server.condition == best)
            };
            let nearest = selector.nearest(&servers).unwrap();
            let body = selector.for_body(&servers, now).unwrap();
            prop_assert!(of(nearest).next().is_some() && of(body).next().is_some());
            let in_best = in_best_condition(&servers);
            let shortest = in_best.iter().map(|server| server.round_trip).min().unwrap();
            let limit = shortest.mul_f64(ROUND_TRIP_RATIO * ROUND_TRIP_RATIO) + 2 * ROUND_TRIP_SLACK;
            prop_assert!(of(nearest).any(|server| server.round_trip <= limit));
            let highest = in_best.iter().filter_map(|one| one.goodput).map(|(rate, _)| rate).fold(1.0, f64::max);
            let share =
                |server: &Candidate| rate(server.goodput, highest, now) / (server.bodies + 1) as f64;
            let most = in_best.iter().map(|server| share(server)).fold(0.0, f64::max);
            prop_assert!(of(body).any(|server| share(server) >= most * RATE_RATIO));
        }

        /// With constant round trips, the server in use never changes after the first selection.
        #[test]
        fn nothing_moves_back_and_forth(round_trips in prop::collection::vec(0_u32..500, 1..6)) {
            let servers: Vec<_> = (0..).zip(&round_trips).map(|(id, ms)| candidate(id, *ms)).collect();
            let mut selector = Selector::default();
            let first = selector.choose(&servers);
            for _ in 0..3 {
                prop_assert_eq!(selector.choose(&servers), first);
            }
        }
    }
}
