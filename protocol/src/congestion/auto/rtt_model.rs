//! The path's RTT: its minimum without queues, its jitter, and our share of a queue.
//!
//! Must never keep an old minimum forever: it expires, since the path may have become longer.

use super::loss_account::QueueResponse;
use crate::congestion::constants::HOST_JITTER;
use std::time::{Duration, Instant};

/// RTT before the first sample; the same as in the transport settings.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Time for which min_rtt is valid without a sample that confirms it.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);

/// The same after a silence of acknowledgements: the first samples then often include a queue that built up.
const MIN_RTT_LIFETIME_AFTER_SILENCE: Duration = Duration::from_secs(3);

/// Measured queue share of a flow that has half of the link. It is less than half, since a full queue drops
/// part of what Up sends.
const FAIR_QUEUE_SHARE: f64 = 0.44;

/// Correction of the target RTT per deviation from [`FAIR_QUEUE_SHARE`].
const FAIRNESS_GAIN: f64 = 3.5;

/// Maximum target RTT in min_rtts, while no other flow shares the queue; or [`HOST_JITTER`] more than
/// min_rtt, if that is longer.
const TARGET_MAX_ALONE: f64 = 2.0;

/// The same beside another flow. TCP BBR keeps two BDPs in flight and overestimates its share by a tenth:
/// with a maximum of 2, our share would shrink.
const TARGET_MAX_SHARED: f64 = 2.5;

#[derive(Debug, Clone)]
pub(super) struct RttModel {
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    smoothed: Duration,
    /// Lowest RTT of the current round, of the current ProbeBandwidth cycle, and of the last complete cycle.
    round_min: Duration,
    cycle_min: Duration,
    last_cycle_min: Duration,
    /// Mean RTT of packets that met no queue of ours: min_rtt and jitter.
    unqueued_rtt: Duration,
    /// Mean RTT of packets sent in Cruise.
    cruise_rtt: Duration,
    /// Our share of a shared queue, from how the RTT responded to Up and Down.
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

    /// Updates the model from an RTT sample. `draining`: our own queue is draining.
    pub(super) fn observe(&mut self, now: Instant, rtt: Duration, draining: bool) {
        match self.min_rtt {
            Some(min) if rtt > min => {
                // Close enough to confirm min_rtt. Otherwise clock noise alone would let it expire.
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

    /// RTT without queues, or the initial RTT before the first sample.
    pub(super) fn min(&self) -> Duration {
        self.min_rtt.unwrap_or(INITIAL_RTT)
    }

    pub(super) fn measured_min(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// Smoothed like the QUIC stack's estimate, by which it paces.
    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Returns the lowest RTT of the current round and starts the next.
    pub(super) fn end_round(&mut self) -> Duration {
        std::mem::replace(&mut self.round_min, Duration::MAX)
    }

    /// Ends a ProbeBandwidth cycle. Only a `deep` Down phase drains our queue completely, so others may only
    /// lower the minimum of the last cycle.
    pub(super) fn end_probe_cycle(&mut self, deep: bool) {
        if deep || !self.is_shared() || self.cycle_min < self.last_cycle_min {
            self.last_cycle_min = self.cycle_min;
        }
        self.cycle_min = Duration::MAX;
    }

    /// Whether a queue remains when ours is gone, which then belongs to another flow. The threshold excludes
    /// what host jitter can explain.
    pub(super) fn is_shared(&self) -> bool {
        let min = self.min();
        self.last_cycle_min != Duration::MAX
            && self.last_cycle_min > min + (min / 10 + Duration::from_millis(4)).max(HOST_JITTER * 4 / 3)
    }

    /// Sets the mean RTT of packets sent while we had no queue, or (not `certain`) almost none. In the latter
    /// case it may contain our own queue, so its growth is limited, or the window would grow with its own
    /// queue.
    pub(super) fn set_unqueued(&mut self, mean: Duration, certain: bool) {
        let limit = if certain || self.is_shared() {
            Duration::MAX
        } else {
            self.unqueued_rtt.max(self.min().mul_f64(TARGET_MAX_ALONE))
        };
        self.unqueued_rtt = mean.min(limit);
    }

    /// Updates our queue share. Up and Down differed by `window_change` of the window. The RTT changes in
    /// proportion to our share: by all of that if the queue is ours alone, by half if half of it is ours.
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

    /// How much the RTT varies without a queue of ours.
    pub(super) fn jitter(&self) -> Duration {
        self.unqueued_rtt.saturating_sub(self.min())
    }

    /// The RTT for which the window provides: the RTT without our queue, and room for jitter. Beside another
    /// flow's queue, the window provides for more if our share of the queue is too small, and for less if it
    /// is too large; otherwise both flows would raise each other's window. The result is bounded.
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

    /// Whether min_rtt has to be measured again.
    pub(super) fn is_min_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_LIFETIME
    }

    /// Extends the lifetime of min_rtt after a silence. Samples around a silence are distorted: they do not
    /// confirm min_rtt, but its measurement must not begin at once either.
    pub(super) fn extend_after_silence(&mut self, now: Instant) {
        let age_max = MIN_RTT_LIFETIME - MIN_RTT_LIFETIME_AFTER_SILENCE;
        if now.saturating_duration_since(self.min_rtt_at) > age_max {
            self.min_rtt_at = now.checked_sub(age_max).unwrap_or(now);
        }
    }

    /// Starts a new lifetime of min_rtt.
    pub(super) fn refresh_min(&mut self, now: Instant) {
        self.min_rtt_at = now;
    }

    /// Discards min_rtt, so that the next sample sets it. Returns the old value.
    pub(super) fn restart_min(&mut self, now: Instant) -> Duration {
        let old_min = self.min();
        self.min_rtt = None;
        self.min_rtt_at = now;
        old_min
    }

    /// Accepts min_rtt as measured with drained queues.
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
