//! A trial: both ways carry the bodies that are under way, and the one on trial must show that it is better.
//!
//! All its bytes are bytes of bodies, so a trial on a path that is full moves them from one way to the other and costs
//! nothing. Must never judge before what a filter lets through of each connection.

use super::Way;
use super::goodput::{Carried, GoodputMeter};
use std::time::{Duration, Instant};

/// Bytes after which a session is no longer one that a filter has let begin. Filters were seen to stop connections
/// after 15 to 20 KB (TCP) and 64 KiB (UDP).
const PROOF_BYTES: u64 = 128 * 1024;

/// Time with load in which those must arrive, beside [`PROOF_ROUND_TRIPS`]: a packet that is lost three times is
/// sent again within 2.1 s.
const PROOF_TIME: Duration = Duration::from_secs(3);

/// Three for the request and the first window, and as many again for what of them was lost.
const PROOF_ROUND_TRIPS: u32 = 6;

/// TCP must have this many times QUIC's goodput, and a proxy this many times that of either. The two differ by up to a
/// fifth on lossy links (81 and 65 Mbit/s of 100 at 5 % loss), once one and once the other in front; a policer costs four
/// fifths.
const LATER_GAIN_MIN: f64 = 1.25;

/// QUIC must have at least this part of TCP's, and either of a proxy's: at equal goodput, QUIC has the shorter small
/// requests. The distance to [`LATER_GAIN_MIN`] is the hysteresis: a ratio between 0.8 and 0.9 moves nothing in either
/// direction.
const EARLIER_SHARE_MIN: f64 = 0.9;

/// Both ways together must have this many times the goodput, as [`LATER_GAIN_MIN`], for a closer look at the one on
/// trial: what it carries then does not come out of the other's.
const COMMON_GAIN_MIN: f64 = 1.25;

/// A share of the goodput with which QUIC beside TCP, or either beside a proxy, gets a closer look. Of a full link it
/// gets about half; of the policed link of the ladder (20 of 100 Mbit/s) QUIC gets 0.19.
const EARLIER_CONTENDS: f64 = 0.3;

/// The time with load on both ways, at most, beside [`SHARED_ROUND_TRIPS`]. Kernel BBR needs 2 s at 200 ms to fill a
/// link of 100 Mbit/s.
const SHARED_TIME_MAX: Duration = Duration::from_secs(4);

/// The same in round trips: a start doubles in each.
const SHARED_ROUND_TRIPS: u32 = 6;

/// The time until the closer look begins: what was requested on the other way arrives until then. A client requests a
/// second, or six round trips, in advance.
const SETTLE_TIME: Duration = Duration::from_secs(1);
const SETTLE_ROUND_TRIPS: u32 = 6;

/// The length of the closer look, at most: two windows of the goodput. If QUIC has 0.3 of TCP's goodput, the look and
/// the time before it cost 4 s × 0.7 of the line, in eight minutes at the least: 0.6 %.
const LOOK_TIME_MAX: Duration = Duration::from_secs(3);

/// A trial ends without a result if no body waits for bytes for this long: pauses between layers are shorter.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// The time of a trial, at most: with a round trip of a second, all its parts take 28 s. One whose bodies are too short
/// for the other way ends without a result.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(30);

/// The session that new parts of large bodies are requested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriers {
    /// Both sessions.
    Both,
    /// The session on trial.
    TrialOnly,
}

/// The result of an observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Progress {
    /// There is no result yet.
    Continues,
    /// Only the way on trial is to carry new parts.
    CloserLook,
    /// The way on trial is better: bytes per second.
    Won(f64),
    /// It is not: bytes per second, if it carried enough.
    Lost(Option<f64>),
    /// The bodies have ended.
    Inconclusive,
}

/// A trial of a way.
#[derive(Debug)]
pub(super) struct Trial {
    way: Way,
    /// Whether it comes before the way in use, among equally good ones.
    is_earlier: bool,
    /// The goodput of the way in use before, or beside this one, if that is more.
    baseline: f64,
    in_use: GoodputMeter,
    on_trial: GoodputMeter,
    stage: Stage,
    began: Instant,
    loaded_at: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Shared,
    /// The time with load at which it settles, and whether it has.
    Alone {
        settles: Duration,
        has_settled: bool,
    },
}

impl Trial {
    /// `way` is on trial beside one with this goodput in bytes per second.
    pub(super) fn new(way: Way, beside: Way, baseline: f64, now: Instant) -> Self {
        let is_earlier = way < beside;
        let (in_use, on_trial) = (GoodputMeter::default(), GoodputMeter::default());
        Self { way, is_earlier, baseline, in_use, on_trial, stage: Stage::Shared, began: now, loaded_at: now }
    }

    pub(super) const fn way(&self) -> Way {
        self.way
    }

    /// Whether it comes before the way in use, among equally good ones.
    pub(super) const fn is_earlier(&self) -> bool {
        self.is_earlier
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.baseline
    }

    /// Records what both have carried by `now`.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        in_use: Carried,
        on_trial: Carried,
        rtt: Duration,
    ) -> Progress {
        self.in_use.observe(now, in_use);
        self.on_trial.observe(now, on_trial);
        if in_use.is_loaded || on_trial.is_loaded {
            self.loaded_at = now;
        } else if now.saturating_duration_since(self.loaded_at) >= IDLE_TIME_MAX {
            return Progress::Inconclusive;
        }
        if now.saturating_duration_since(self.began) >= TRIAL_TIME_MAX {
            return Progress::Inconclusive;
        }
        let time = self.on_trial.loaded();
        if self.on_trial.received() < PROOF_BYTES {
            let limit = PROOF_TIME + PROOF_ROUND_TRIPS * rtt;
            return if time < limit { Progress::Continues } else { Progress::Lost(None) };
        }
        match self.stage {
            Stage::Shared => self.shared(time, rtt),
            Stage::Alone { settles, has_settled: false } => {
                if time >= settles {
                    self.on_trial.clear();
                    self.stage = Stage::Alone { settles, has_settled: true };
                }
                Progress::Continues
            }
            Stage::Alone { settles, has_settled: true } => match self.on_trial.recent() {
                Some(rate) if rate >= self.required() => Progress::Won(rate),
                rate if time >= settles + LOOK_TIME_MAX => Progress::Lost(rate),
                _ => Progress::Continues,
            },
        }
    }

    fn shared(&mut self, time: Duration, rtt: Duration) -> Progress {
        // Its start was not over yet.
        self.baseline = self.in_use.recent().map_or(self.baseline, |rate| rate.max(self.baseline));
        let Some(rate) = self.on_trial.recent() else { return Progress::Continues };
        if rate >= self.required() {
            return Progress::Won(rate);
        }
        let common = rate + self.in_use.recent().unwrap_or(0.0);
        let adds = common >= COMMON_GAIN_MIN * self.baseline;
        let contends = self.is_earlier && rate >= EARLIER_CONTENDS * self.baseline;
        if adds || contends {
            let settles = time + SETTLE_TIME.max(SETTLE_ROUND_TRIPS * rtt);
            self.stage = Stage::Alone { settles, has_settled: false };
            return Progress::CloserLook;
        }
        // On a busy machine, a start takes longer.
        if time >= SHARED_TIME_MAX + SHARED_ROUND_TRIPS * rtt && self.on_trial.plateau().is_some() {
            return Progress::Lost(Some(rate));
        }
        Progress::Continues
    }

    fn required(&self) -> f64 {
        self.baseline * if self.is_earlier { EARLIER_SHARE_MIN } else { LATER_GAIN_MIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);
    const MBIT: f64 = 125_000.0;

    /// Runs a trial. `link` gives the rates of the way in use and of the one on trial, in Mbit/s, for a stage. Returns
    /// the result, the seconds until then, and whether there was a closer look.
    fn run(way: Way, baseline: f64, link: impl Fn(bool) -> (f64, f64)) -> (Progress, f64, bool) {
        let start = Instant::now();
        let beside = if way == Way::Quic { Way::Tcp } else { Way::Quic };
        let mut trial = Trial::new(way, beside, baseline * MBIT, start);
        let (mut in_use, mut on_trial) = (0.0, 0.0);
        let mut is_alone = false;
        for n in 1..200 {
            let (used, tried) = link(is_alone);
            in_use += used * MBIT / 4.0;
            on_trial += tried * MBIT / 4.0;
            let carried = |bytes: f64, is_loaded| Carried { received: bytes as u64, is_loaded };
            let now = start + Duration::from_millis(250) * n;
            match trial.observe(now, carried(in_use, !is_alone), carried(on_trial, true), RTT) {
                Progress::Continues => {}
                Progress::CloserLook => is_alone = true,
                end => return (end, f64::from(n) / 4.0, is_alone),
            }
        }
        panic!("the trial does not end");
    }

    #[test]
    fn tcp_wins_beside_a_policed_quic_at_once() {
        let (end, seconds, _) = run(Way::Tcp, 18.0, |_| (18.0, 78.0));
        assert!(matches!(end, Progress::Won(_)) && seconds <= 2.0, "{end:?} after {seconds} s");
    }

    #[test]
    fn a_full_link_moves_nothing_to_tcp() {
        let (end, _, is_alone) = run(Way::Tcp, 94.0, |_| (60.0, 36.0));
        assert!(matches!(end, Progress::Lost(Some(_))) && !is_alone, "{end:?}");
    }

    #[test]
    fn a_tcp_that_adds_to_quic_is_looked_at_alone() {
        let (end, ..) = run(Way::Tcp, 50.0, |is_alone| if is_alone { (0.0, 95.0) } else { (48.0, 48.0) });
        assert!(matches!(end, Progress::Won(_)), "{end:?}");
        let (end, ..) = run(Way::Tcp, 50.0, |is_alone| if is_alone { (0.0, 50.0) } else { (50.0, 50.0) });
        assert!(matches!(end, Progress::Lost(Some(_))), "{end:?}");
    }

    #[test]
    fn quic_returns_at_equal_goodput_and_not_while_it_is_policed() {
        let (end, seconds, _) =
            run(Way::Quic, 95.0, |is_alone| if is_alone { (0.0, 93.0) } else { (50.0, 45.0) });
        assert!(matches!(end, Progress::Won(_)) && seconds < 6.0, "{end:?} after {seconds} s");
        let (end, _, is_alone) = run(Way::Quic, 95.0, |_| (76.0, 18.0));
        assert!(matches!(end, Progress::Lost(Some(_))) && !is_alone, "{end:?}");
        let (end, ..) = run(Way::Quic, 95.0, |is_alone| if is_alone { (0.0, 40.0) } else { (55.0, 40.0) });
        assert!(matches!(end, Progress::Lost(Some(_))), "{end:?}");
    }

    #[test]
    fn a_leg_that_stops_after_its_first_bytes_loses() {
        let start = Instant::now();
        let mut trial = Trial::new(Way::Tcp, Way::Quic, 10.0 * MBIT, start);
        for n in 1.. {
            let now = start + Duration::from_millis(250) * n;
            let in_use = Carried { received: u64::from(n) * 300_000, is_loaded: true };
            let frozen = Carried { received: 16 * 1024, is_loaded: true };
            match trial.observe(now, in_use, frozen, RTT) {
                Progress::Continues => assert!(n < 40, "the trial does not end"),
                end => return assert_eq!(end, Progress::Lost(None)),
            }
        }
    }

    #[test]
    fn a_trial_whose_bodies_end_has_no_result() {
        let start = Instant::now();
        let mut trial = Trial::new(Way::Tcp, Way::Quic, 10.0 * MBIT, start);
        let mut end = Progress::Continues;
        for n in 1..100 {
            end = trial.observe(
                start + Duration::from_millis(250) * n,
                Carried::default(),
                Carried::default(),
                RTT,
            );
            if end != Progress::Continues {
                break;
            }
        }
        assert_eq!(end, Progress::Inconclusive);
    }
}
