//! The path's round trip: what it is without queues, and whose queue it is otherwise.
//!
//! The minimum expires: a path that has become longer must not be held to what it was.

use super::{SLICES, ledger::Swing};
use std::time::{Duration, Instant};

/// What is assumed before anything is measured; as in the transport's settings.
const GUESS: Duration = Duration::from_millis(100);

/// How long a minimum is believed without being met again.
const LIFETIME: Duration = Duration::from_secs(10);

/// And how long after a silence: what is met first then is often the queue that built up.
const AFTER_SILENCE: Duration = Duration::from_secs(3);

/// What our part of a shared link seems to be when it is half: a full queue cuts the probes off.
const FAIR: f64 = 0.44;

/// How strongly a window makes up for a part that isn't.
const LEANING: f64 = 3.5;

/// Minima that the working round trip may be of, or [`SLICES`] more: alone, and beside a rival. TCP BBR
/// keeps two of its own under way, and believes in a tenth more than its part: with no more than that,
/// ours would dwindle.
const ALONE: f64 = 2.0;
const BESIDE: f64 = 2.5;

#[derive(Debug, Clone)]
pub(super) struct RoundTrip {
    min: Option<Duration>,
    met: Instant,
    smoothed: Duration,
    /// Lowest of the round, of the cycle, and of the last whole cycle.
    round_min: Duration,
    cycle_min: Duration,
    last_cycle_min: Duration,
    /// Mean of packets that found no queue of ours: the minimum and what jitter adds.
    unqueued: Duration,
    /// The same of packets sent while cruising.
    cruised: Duration,
    /// Our part of a link that is shared, as our probes have moved its queue.
    part: Option<f64>,
}

impl RoundTrip {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            min: None,
            met: now,
            smoothed: GUESS,
            round_min: Duration::MAX,
            cycle_min: Duration::MAX,
            last_cycle_min: Duration::ZERO,
            unqueued: Duration::ZERO,
            cruised: Duration::ZERO,
            part: None,
        }
    }

    /// Takes note of a packet's round trip; `draining` says that our own queue is going away.
    pub(super) fn observe(&mut self, now: Instant, rtt: Duration, draining: bool) {
        match self.min {
            Some(min) if rtt > min => {
                // As good as met. Otherwise clock noise alone would let the minimum expire.
                if draining && rtt < min + min / 50 + Duration::from_millis(1) {
                    self.met = now;
                }
                self.smoothed = (self.smoothed * 7 + rtt) / 8;
            }
            known => {
                self.smoothed = if known.is_some() { (self.smoothed * 7 + rtt) / 8 } else { rtt };
                self.min = Some(rtt);
                self.met = now;
            }
        }
        self.round_min = self.round_min.min(rtt);
        self.cycle_min = self.cycle_min.min(rtt);
    }

    /// The round trip without queues, as far as is known.
    pub(super) fn min(&self) -> Duration {
        self.min.unwrap_or(GUESS)
    }

    pub(super) fn measured(&self) -> Option<Duration> {
        self.min
    }

    /// As quinn smooths it, which is what it paces by.
    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Lowest of the round that is ending; starts the next.
    pub(super) fn end_round(&mut self) -> Duration {
        std::mem::replace(&mut self.round_min, Duration::MAX)
    }

    /// A cycle of probing is over. Not every drain goes down far enough to tell our queue from
    /// another's (`deep`): the others may only lower what the last one showed.
    pub(super) fn end_cycle(&mut self, deep: bool) {
        if deep || !self.shared() || self.cycle_min < self.last_cycle_min {
            self.last_cycle_min = self.cycle_min;
        }
        self.cycle_min = Duration::MAX;
    }

    /// Whether a queue stays when ours is gone: another flow's. Not so little that the hosts may be it.
    pub(super) fn shared(&self) -> bool {
        let min = self.min();
        self.last_cycle_min != Duration::MAX
            && self.last_cycle_min > min + (min / 10 + Duration::from_millis(4)).max(SLICES * 4 / 3)
    }

    /// Mean round trip of packets sent while we had no queue, or (`surely` not) hardly any: then it may be
    /// our own that is seen, and must not make room for more of itself.
    pub(super) fn set_unqueued(&mut self, mean: Duration, surely: bool) {
        let most = if surely || self.shared() {
            Duration::MAX
        } else {
            self.unqueued.max(self.min().mul_f64(ALONE))
        };
        self.unqueued = mean.min(most);
    }

    /// A probe and a drain differed by this part of the window. The queue moves with it as far as
    /// it is ours: by all of it if the link is, by half if half of it is.
    pub(super) fn observe_swing(&mut self, swing: Swing, of_window: f64) {
        self.cruised = swing.cruised;
        if !self.shared() {
            self.part = None;
            return;
        }
        let moved = swing.probed.saturating_sub(swing.drained).as_secs_f64();
        let part = (moved / (of_window * swing.cruised.as_secs_f64())).min(1.0);
        self.part = Some(self.part.map_or(part, |known| known + (part - known) / 4.0));
    }

    /// How much a packet's round trip varies without a queue.
    pub(super) fn jitter(&self) -> Duration {
        self.unqueued.saturating_sub(self.min())
    }

    /// The round trip for which the window has to provide: what packets take without our queue,
    /// and where that varies, room for it. Beside a rival's queue there is room only as far as our
    /// part is too small, and less than none where it is too large, or each would feed the other's.
    /// Bounded, whatever is measured.
    pub(super) fn working(&self) -> Duration {
        let min = self.min();
        if !self.shared() {
            return (self.unqueued + self.jitter() / 2).clamp(min, min.mul_f64(ALONE).max(min + SLICES));
        }
        let lean = self.part.map_or(0.0, |part| ((FAIR - part) * LEANING).clamp(-1.0, 1.0));
        let queue = self.cruised.saturating_sub(self.unqueued);
        let provided = if lean > 0.0 {
            self.unqueued + (queue + min / 2).mul_f64(lean)
        } else {
            self.unqueued.saturating_sub(queue.mul_f64(-lean))
        };
        provided.clamp(min, min.mul_f64(BESIDE).max(min + SLICES))
    }

    /// Whether the minimum has to be looked for again.
    pub(super) fn expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.met) > LIFETIME
    }

    /// Something is amiss with the samples around a silence: they need not renew the minimum, but
    /// neither should it be looked for at once.
    pub(super) fn forgive_silence(&mut self, now: Instant) {
        let soon = LIFETIME - AFTER_SILENCE;
        if now.saturating_duration_since(self.met) > soon {
            self.met = now.checked_sub(soon).unwrap_or(now);
        }
    }

    /// Believes the minimum for another lifetime.
    pub(super) fn renew(&mut self, now: Instant) {
        self.met = now;
    }

    /// Measures the minimum anew, from the next packet on. Returns the old one.
    pub(super) fn restart(&mut self, now: Instant) -> Duration {
        let old = self.min();
        self.min = None;
        self.met = now;
        old
    }

    /// The minimum has been measured anew, with the queue drained.
    pub(super) fn settle(&mut self, now: Instant) {
        let min = self.min();
        self.met = now;
        self.unqueued = self.unqueued.clamp(min, min + min / 4);
        self.cycle_min = Duration::MAX;
        self.last_cycle_min = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_minimum_expires_unless_it_is_met_again() {
        let start = Instant::now();
        let mut rtt = RoundTrip::new(start);
        rtt.observe(start, ms(200), false);
        rtt.observe(start + ms(5000), ms(201), true);
        assert!(!rtt.expired(start + ms(14_000)));
        rtt.observe(start + ms(14_000), ms(230), true);
        assert!(rtt.expired(start + ms(15_001)));
        assert_eq!(rtt.restart(start + ms(15_001)), ms(200));
        rtt.observe(start + ms(15_002), ms(230), true);
        assert_eq!(rtt.min(), ms(230));
    }

    #[test]
    fn a_queue_that_outlasts_a_deep_drain_is_another_s() {
        let start = Instant::now();
        let mut rtt = RoundTrip::new(start);
        rtt.observe(start, ms(50), false);
        rtt.end_cycle(true);
        assert!(!rtt.shared());
        rtt.observe(start, ms(80), false);
        rtt.end_cycle(true);
        assert!(rtt.shared());
        rtt.observe(start, ms(90), false);
        rtt.end_cycle(false);
        rtt.observe(start, ms(51), false);
        rtt.end_cycle(false);
        assert!(!rtt.shared());
    }

    #[test]
    fn the_working_round_trip_has_room_for_jitter_but_none_for_a_rival() {
        let start = Instant::now();
        let mut rtt = RoundTrip::new(start);
        rtt.observe(start, ms(100), false);
        rtt.set_unqueued(ms(110), true);
        assert_eq!(rtt.working(), ms(115));
        rtt.end_cycle(true);
        rtt.observe(start, ms(130), false);
        rtt.end_cycle(true);
        assert_eq!(rtt.working(), ms(110));
        rtt.set_unqueued(ms(1000), true);
        assert_eq!(rtt.working(), ms(250));
    }

    #[test]
    fn who_has_too_small_a_part_beside_a_rival_provides_for_its_queue_and_who_has_too_much_does_not() {
        let start = Instant::now();
        let working = |moved: u64| {
            let mut rtt = RoundTrip::new(start);
            rtt.observe(start, ms(50), false);
            rtt.end_cycle(true);
            rtt.observe(start, ms(80), false);
            rtt.end_cycle(true);
            rtt.set_unqueued(ms(85), true);
            let swing = Swing { cruised: ms(95), probed: ms(85 + moved), drained: ms(85) };
            rtt.observe_swing(swing, 0.4);
            rtt.working()
        };
        assert!(working(5) > ms(90));
        assert!((ms(84)..ms(87)).contains(&working(17)));
        assert!(working(30) < ms(80));
    }
}
