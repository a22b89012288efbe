//! Delivery rate samples: the rate at which the path delivered the packets that were in flight together.
//!
//! As in draft-ietf-ccwg-bbr, section 4.1, but with the time of sending as the key, since the QUIC stack's controller
//! interface has no packet numbers. Must never depend on windows or states.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Age from which on a send state is removed: no acknowledgement for it will come, or it would say nothing
/// about the current path.
const SEND_STATE_LIFETIME: Duration = Duration::from_secs(10);

/// Minimum time without acknowledgements that counts as a silence. Shorter ones are late acknowledgements.
const ACK_SILENCE_MIN: Duration = Duration::from_millis(200);

/// Minimum duration of a round. Within less time, a rate shows how fast busy hosts handle packets, and three
/// slow rounds in a row do not mean that the path became slower.
const ROUND_DURATION_MIN: Duration = Duration::from_millis(8);

#[derive(Debug, Clone)]
pub(super) struct RateSampler {
    send_states: VecDeque<SendState>,
    /// Bytes acknowledged so far, and when the last of them were acknowledged.
    delivered: u64,
    delivered_time: Instant,
    /// When the newest acknowledged packet was sent: start of a sample's send interval.
    first_sent_time: Instant,
    /// Nothing is in flight, so the next packet starts a new measurement.
    idle: bool,
    /// Packets sent before this many bytes were delivered were app-limited.
    app_limited_until: u64,
    /// The round ends with the acknowledgement of a packet that was sent when at least this many bytes were
    /// delivered, and not before [`ROUND_DURATION_MIN`].
    next_round_delivered: u64,
    round_start: Instant,
    batch: Option<AckBatch>,
    newest_acked: Option<Instant>,
    last_ack: Option<Instant>,
}

/// The sampler's state when packets were sent (BBR's per-packet state).
#[derive(Debug, Clone, Copy)]
struct SendState {
    at: Instant,
    delivered: u64,
    delivered_time: Instant,
    first_sent_time: Instant,
    app_limited: bool,
}

#[derive(Debug, Clone, Copy)]
struct AckBatch {
    newest_sent: Instant,
    bytes: u64,
}

/// What one batch of acknowledgements shows (BBR's rate sample).
#[derive(Debug, Clone, Copy)]
pub(super) struct RateSample {
    /// When the newest packet of the batch was sent.
    pub(super) newest_sent: Instant,
    /// Bytes acknowledged in the batch.
    pub(super) newly_acked: u64,
    /// RTT of the newest packet, if no newer one was acknowledged before.
    pub(super) rtt: Option<Duration>,
    /// Bytes per second delivered while that packet was in flight.
    pub(super) delivery_rate: Option<f64>,
    /// The rate may be limited by the application and not by the path.
    pub(super) app_limited: bool,
    /// The batch ends a round.
    pub(super) round_ended: bool,
    /// No acknowledgement had arrived for a long time, although data was in flight.
    pub(super) after_silence: bool,
}

impl RateSampler {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            send_states: VecDeque::new(),
            delivered: 0,
            delivered_time: now,
            first_sent_time: now,
            idle: true,
            app_limited_until: 0,
            next_round_delivered: 0,
            round_start: now,
            batch: None,
            newest_acked: None,
            last_ack: None,
        }
    }

    /// Bytes acknowledged so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn on_sent(&mut self, now: Instant) {
        if self.idle {
            self.idle = false;
            self.first_sent_time = now;
            self.delivered_time = now;
            self.last_ack = None;
        }
        // Packets sent at the same time share an entry.
        if self.send_states.back().is_some_and(|send_state| send_state.at == now) {
            return;
        }
        self.forget_before(now.checked_sub(SEND_STATE_LIFETIME));
        self.send_states.push_back(SendState {
            at: now,
            delivered: self.delivered,
            delivered_time: self.delivered_time,
            first_sent_time: self.first_sent_time,
            app_limited: self.delivered < self.app_limited_until,
        });
    }

    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_time = now;
        let batch = self.batch.get_or_insert(AckBatch { newest_sent: sent, bytes: 0 });
        batch.newest_sent = batch.newest_sent.max(sent);
        batch.bytes += bytes;
    }

    /// Ends a batch. A rate is measured over at least half of `min_rtt`: over a shorter time it would show
    /// how acknowledgements are aggregated.
    pub(super) fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        min_rtt: Duration,
    ) -> Option<RateSample> {
        let was_idle = self.idle;
        self.idle = in_flight == 0;
        if app_limited {
            self.app_limited_until = self.delivered + in_flight.max(1);
        }
        let batch = self.batch.take()?;
        let last_ack = self.last_ack.replace(now);
        let silence = last_ack.map_or(Duration::ZERO, |last_ack| now.saturating_duration_since(last_ack));
        let mut sample = RateSample {
            newest_sent: batch.newest_sent,
            newly_acked: batch.bytes,
            rtt: None,
            delivery_rate: None,
            app_limited: false,
            round_ended: false,
            after_silence: !was_idle && silence > ACK_SILENCE_MIN.max(min_rtt * 2),
        };
        if self.newest_acked.is_none_or(|newest| batch.newest_sent > newest) {
            self.newest_acked = Some(batch.newest_sent);
            sample.rtt = Some(now.saturating_duration_since(batch.newest_sent));
        }
        let Some(send_state) = self.send_state_at(batch.newest_sent) else { return Some(sample) };
        self.first_sent_time = send_state.at;
        self.forget_before(send_state.at.checked_sub(min_rtt * 4));
        let ack_elapsed = now.saturating_duration_since(send_state.delivered_time);
        let send_elapsed = send_state.at.saturating_duration_since(send_state.first_sent_time);
        let elapsed = ack_elapsed.max(send_elapsed);
        if elapsed >= min_rtt / 2 && !elapsed.is_zero() {
            sample.delivery_rate =
                Some((self.delivered - send_state.delivered) as f64 / elapsed.as_secs_f64());
            sample.app_limited = send_state.app_limited;
        }
        let round_elapsed = now.saturating_duration_since(self.round_start);
        if send_state.delivered >= self.next_round_delivered && round_elapsed >= ROUND_DURATION_MIN {
            self.next_round_delivered = self.delivered;
            self.round_start = now;
            sample.round_ended = true;
        }
        Some(sample)
    }

    fn send_state_at(&self, at: Instant) -> Option<SendState> {
        let index = self.send_states.partition_point(|send_state| send_state.at < at);
        self.send_states.get(index).copied().filter(|send_state| send_state.at == at)
    }

    fn forget_before(&mut self, before: Option<Instant>) {
        let Some(before) = before else { return };
        while self.send_states.front().is_some_and(|send_state| send_state.at < before) {
            self.send_states.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const GAP: Duration = Duration::from_millis(1);

    /// Sends a packet of 1000 bytes each millisecond for `count` ms; each is acknowledged after one RTT.
    fn steady(sampler: &mut RateSampler, start: Instant, count: u32, app_limited: bool) -> Vec<RateSample> {
        let mut samples = Vec::new();
        for tick in 0..count + 100 {
            let now = start + GAP * tick;
            if tick >= 100 {
                sampler.on_ack(now, now - RTT, 1000);
                let in_flight = u64::from(count.min(tick) - (tick - 100)) * 1000 - 1000;
                samples.extend(sampler.on_end_acks(now, in_flight, app_limited, RTT));
            }
            if tick < count {
                sampler.on_sent(now);
            }
        }
        samples
    }

    #[test]
    fn measures_the_rate_of_a_steady_flow() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        let samples = steady(&mut sampler, start, 500, false);
        assert!(samples.iter().all(|sample| sample.rtt == Some(RTT)));
        for sample in &samples[200..] {
            let rate = sample.delivery_rate.unwrap();
            assert!((9.9e5..1.01e6).contains(&rate), "{rate}");
            assert!(!sample.app_limited);
        }
        let rounds = samples.iter().filter(|sample| sample.round_ended).count();
        assert!((5..=6).contains(&rounds), "{rounds} rounds in 500 ms");
    }

    #[test]
    fn a_round_on_a_short_path_lasts_at_least_8_ms() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        let rounds = (0..800).filter(|tick| {
            let now = start + GAP * *tick;
            sampler.on_sent(now);
            sampler.on_ack(now + GAP / 2, now, 1000);
            sampler.on_end_acks(now + GAP / 2, 1000, false, GAP / 2).is_some_and(|sample| sample.round_ended)
        });
        let rounds = rounds.count();
        assert!((50..=100).contains(&rounds), "{rounds} rounds in 800 ms");
    }

    #[test]
    fn marks_app_limited_samples() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        let samples = steady(&mut sampler, start, 300, true);
        assert!(samples[150..].iter().all(|sample| sample.app_limited));
    }

    #[test]
    fn an_idle_period_is_neither_measured_nor_a_silence() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        steady(&mut sampler, start, 300, false);
        let samples = steady(&mut sampler, start + Duration::from_secs(60), 300, false);
        assert!(samples.iter().all(|sample| !sample.after_silence));
        assert!(samples[150..].iter().all(|sample| sample.delivery_rate.unwrap() > 9.9e5));
    }

    #[test]
    fn reports_a_silence_of_acknowledgements() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        sampler.on_sent(start);
        sampler.on_sent(start + GAP);
        sampler.on_ack(start + RTT, start, 1000);
        let first = sampler.on_end_acks(start + RTT, 1000, false, RTT).unwrap();
        assert!(!first.after_silence);
        let late = start + Duration::from_secs(3);
        sampler.on_ack(late, start + GAP, 1000);
        assert!(sampler.on_end_acks(late, 0, false, RTT).unwrap().after_silence);
    }

    #[test]
    fn a_sender_of_acknowledgements_alone_stores_little() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        for second in 0..1000 {
            sampler.on_sent(start + Duration::from_secs(second));
        }
        assert!(sampler.send_states.len() <= 11);
    }
}
