//! The path's round trip: what it is without queues, and whose queue it is otherwise.
//!
//! The minimum expires: a path that has become longer must not be held to what it was.

use super::{HOST_JITTER, loss_account::QueueResponse};
use std::time::{Duration, Instant};

/// What is assumed before anything is measured; as in the transport's settings.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How long a minimum is believed without being met again.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);

/// And how long after a silence: what is met first then is often the queue that built up.
const MIN_RTT_LIFETIME_AFTER_SILENCE: Duration = Duration::from_secs(3);

/// What our part of a shared link seems to be when it is half: a full queue cuts the probes off.
const FAIR_QUEUE_SHARE: f64 = 0.44;

/// How strongly a window makes up for a part that isn't.
const FAIRNESS_GAIN: f64 = 3.5;

/// Minima that the working round trip may be of, or [`SLICES`] more: alone, and beside a rival. TCP BBR
/// keeps two of its own under way, and believes in a tenth more than its part: with no more than that,
/// ours would dwindle.
const TARGET_MAX_ALONE: f64 = 2.0;
const TARGET_MAX_SHARED: f64 = 2.5;

#[derive(Debug, Clone)]
pub(super) struct RttModel {
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    smoothed: Duration,
    /// Lowest of the round, of the cycle, and of the last whole cycle.
    round_min: Duration,
    cycle_min: Duration,
    last_cycle_min: Duration,
    /// Mean of packets that found no queue of ours: the minimum and what jitter adds.
    unqueued_rtt: Duration,
    /// The same of packets sent while cruising.
    cruise_rtt: Duration,
    /// Our part of a link that is shared, as our probes have moved its queue.
    queue_share: Option<f64>,
}

impl RttModel {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            min_rtt: None,
            min_rtt_at: now,
            smoothed: INITIAL_RTT,
            round_min: Duration::MAX,
            cycle_min: Duration::MAX,
            last_cycle_min: Duration::ZERO,
            unqueued_rtt: Duration::ZERO,
            cruise_rtt: Duration::ZERO,
            queue_share: None,
        }
    }

    /// Takes note of a packet's round trip; `draining` says that our own queue is going away.
    pub(super) fn observe(&mut self, now: Instant, rtt: Duration, draining: bool) {
        match self.min_rtt {
            Some(min) if rtt > min => {
                // As good as met. Otherwise clock noise alone would let the minimum expire.
                if draining && rtt < min + min / 50 + Duration::from_millis(1) {
                    self.min_rtt_at = now;
                }
                self.smoothed = (self.smoothed * 7 + rtt) / 8;
            }
            known => {
                self.smoothed = if known.is_some() { (self.smoothed * 7 + rtt) / 8 } else { rtt };
                self.min_rtt = Some(rtt);
                self.min_rtt_at = now;
            }
        }
        self.round_min = self.round_min.min(rtt);
        self.cycle_min = self.cycle_min.min(rtt);
    }

    /// The round trip without queues, as far as is known.
    pub(super) fn min(&self) -> Duration {
        self.min_rtt.unwrap_or(INITIAL_RTT)
    }

    pub(super) fn measured_min(&self) -> Option<Duration> {
        self.min_rtt
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
    pub(super) fn end_probe_cycle(&mut self, deep: bool) {
        if deep || !self.is_shared() || self.cycle_min < self.last_cycle_min {
            self.last_cycle_min = self.cycle_min;
        }
        self.cycle_min = Duration::MAX;
    }

    /// Whether a queue stays when ours is gone: another flow's. Not so little that the hosts may be it.
    pub(super) fn is_shared(&self) -> bool {
        let min = self.min();
        self.last_cycle_min != Duration::MAX
            && self.last_cycle_min > min + (min / 10 + Duration::from_millis(4)).max(HOST_JITTER * 4 / 3)
    }

    /// Mean round trip of packets sent while we had no queue, or (`surely` not) hardly any: then it may be
    /// our own that is seen, and must not make room for more of itself.
    pub(super) fn set_unqueued(&mut self, mean: Duration, certain: bool) {
        let limit = if certain || self.is_shared() {
            Duration::MAX
        } else {
            self.unqueued_rtt.max(self.min().mul_f64(TARGET_MAX_ALONE))
        };
        self.unqueued_rtt = mean.min(limit);
    }

    /// A probe and a drain differed by this part of the window. The queue moves with it as far as
    /// it is ours: by all of it if the link is, by half if half of it is.
    pub(super) fn observe_queue_response(&mut self, response: QueueResponse, window_change: f64) {
        self.cruise_rtt = response.cruise_rtt;
        if !self.is_shared() {
            self.queue_share = None;
            return;
        }
        let moved = response.probe_up_rtt.saturating_sub(response.probe_down_rtt).as_secs_f64();
        let share = (moved / (window_change * response.cruise_rtt.as_secs_f64())).min(1.0);
        self.queue_share = Some(self.queue_share.map_or(share, |known| known + (share - known) / 4.0));
    }

    /// How much a packet's round trip varies without a queue.
    pub(super) fn jitter(&self) -> Duration {
        self.unqueued_rtt.saturating_sub(self.min())
    }

    /// The round trip for which the window has to provide: what packets take without our queue,
    /// and where that varies, room for it. Beside a rival's queue there is room only as far as our
    /// part is too small, and less than none where it is too large, or each would feed the other's.
    /// Bounded, whatever is measured.
    pub(super) fn target(&self) -> Duration {
        let min = self.min();
        if !self.is_shared() {
            return (self.unqueued_rtt + self.jitter() / 2)
                .clamp(min, min.mul_f64(TARGET_MAX_ALONE).max(min + HOST_JITTER));
        }
        let correction = self
            .queue_share
            .map_or(0.0, |share| ((FAIR_QUEUE_SHARE - share) * FAIRNESS_GAIN).clamp(-1.0, 1.0));
        let queue = self.cruise_rtt.saturating_sub(self.unqueued_rtt);
        let target = if correction > 0.0 {
            self.unqueued_rtt + (queue + min / 2).mul_f64(correction)
        } else {
            self.unqueued_rtt.saturating_sub(queue.mul_f64(-correction))
        };
        target.clamp(min, min.mul_f64(TARGET_MAX_SHARED).max(min + HOST_JITTER))
    }

    /// Whether the minimum has to be looked for again.
    pub(super) fn is_min_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_LIFETIME
    }

    /// Something is amiss with the samples around a silence: they need not renew the minimum, but
    /// neither should it be looked for at once.
    pub(super) fn extend_after_silence(&mut self, now: Instant) {
        let age_max = MIN_RTT_LIFETIME - MIN_RTT_LIFETIME_AFTER_SILENCE;
        if now.saturating_duration_since(self.min_rtt_at) > age_max {
            self.min_rtt_at = now.checked_sub(age_max).unwrap_or(now);
        }
    }

    /// Believes the minimum for another lifetime.
    pub(super) fn refresh_min(&mut self, now: Instant) {
        self.min_rtt_at = now;
    }

    /// Measures the minimum anew, from the next packet on. Returns the old one.
    pub(super) fn restart_min(&mut self, now: Instant) -> Duration {
        let old_min = self.min();
        self.min_rtt = None;
        self.min_rtt_at = now;
        old_min
    }

    /// The minimum has been measured anew, with the queue drained.
    pub(super) fn confirm_min(&mut self, now: Instant) {
        let min = self.min();
        self.min_rtt_at = now;
        self.unqueued_rtt = self.unqueued_rtt.clamp(min, min + min / 4);
        self.cycle_min = Duration::MAX;
        self.last_cycle_min = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn min_rtt_expires_unless_measured_again() {
        let start = Instant::now();
        let mut rtt = RttModel::new(start);
        rtt.observe(start, ms(200), false);
        rtt.observe(start + ms(5000), ms(201), true);
        assert!(!rtt.is_min_expired(start + ms(14_000)));
        rtt.observe(start + ms(14_000), ms(230), true);
        assert!(rtt.is_min_expired(start + ms(15_001)));
        assert_eq!(rtt.restart_min(start + ms(15_001)), ms(200));
        rtt.observe(start + ms(15_002), ms(230), true);
        assert_eq!(rtt.min(), ms(230));
    }

    #[test]
    fn a_queue_that_survives_a_deep_drain_belongs_to_another_flow() {
        let start = Instant::now();
        let mut rtt = RttModel::new(start);
        rtt.observe(start, ms(50), false);
        rtt.end_probe_cycle(true);
        assert!(!rtt.is_shared());
        rtt.observe(start, ms(80), false);
        rtt.end_probe_cycle(true);
        assert!(rtt.is_shared());
        rtt.observe(start, ms(90), false);
        rtt.end_probe_cycle(false);
        rtt.observe(start, ms(51), false);
        rtt.end_probe_cycle(false);
        assert!(!rtt.is_shared());
    }

    #[test]
    fn target_rtt_allows_for_jitter_but_not_for_another_flow() {
        let start = Instant::now();
        let mut rtt = RttModel::new(start);
        rtt.observe(start, ms(100), false);
        rtt.set_unqueued(ms(110), true);
        assert_eq!(rtt.target(), ms(115));
        rtt.end_probe_cycle(true);
        rtt.observe(start, ms(130), false);
        rtt.end_probe_cycle(true);
        assert_eq!(rtt.target(), ms(110));
        rtt.set_unqueued(ms(1000), true);
        assert_eq!(rtt.target(), ms(250));
    }

    #[test]
    fn target_rtt_corrects_an_unfair_queue_share() {
        let start = Instant::now();
        let target = |moved: u64| {
            let mut rtt = RttModel::new(start);
            rtt.observe(start, ms(50), false);
            rtt.end_probe_cycle(true);
            rtt.observe(start, ms(80), false);
            rtt.end_probe_cycle(true);
            rtt.set_unqueued(ms(85), true);
            let response =
                QueueResponse { cruise_rtt: ms(95), probe_up_rtt: ms(85 + moved), probe_down_rtt: ms(85) };
            rtt.observe_queue_response(response, 0.4);
            rtt.target()
        };
        assert!(target(5) > ms(90));
        assert!((ms(84)..ms(87)).contains(&target(17)));
        assert!(target(30) < ms(80));
    }
}
