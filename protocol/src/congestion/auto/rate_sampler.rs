//! Delivery-rate samples: how fast the path delivered what was under way together.
//!
//! As draft-ietf-ccwg-bbr, section 4.1, has it, but keyed by the time of sending, since quinn tells
//! of no packet numbers. Knows nothing of windows and phases.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Departures older than this are forgotten: no acknowledgement is still to come, or it would say
/// nothing of the path as it is.
const SEND_STATE_LIFETIME: Duration = Duration::from_secs(10);

/// The shortest silence that counts as one. Shorter ones are late acknowledgements.
const ACK_SILENCE_MIN: Duration = Duration::from_millis(200);

/// No round is shorter. Within less, a rate shows how soon busy hosts get to their packets, and three slow
/// rounds in a row are no path that became slower.
const ROUND_DURATION_MIN: Duration = Duration::from_millis(8);

#[derive(Debug, Clone)]
pub(super) struct RateSampler {
    send_states: VecDeque<SendState>,
    /// Bytes known to have arrived, all in all, and when that became known.
    delivered: u64,
    delivered_time: Instant,
    /// When the newest packet left that is known to have arrived: the samples' send side.
    first_sent_time: Instant,
    /// Nothing is under way, so that the next packet begins a new measurement.
    idle: bool,
    /// Packets that leave before so much has arrived were held up by the application.
    app_limited_until: u64,
    /// The round ends when a packet arrives that left after so much had, and not at once.
    next_round_delivered: u64,
    round_start: Instant,
    batch: Option<AckBatch>,
    newest_acked: Option<Instant>,
    last_ack: Option<Instant>,
}

/// How things stood when packets left.
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

/// What one batch of acknowledgements shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateSample {
    /// When its newest packet left.
    pub(super) newest_sent: Instant,
    /// Bytes acknowledged.
    pub(super) newly_acked: u64,
    /// Round trip of the newest packet, if it is newer than all before.
    pub(super) rtt: Option<Duration>,
    /// Bytes per second delivered while that packet was under way.
    pub(super) delivery_rate: Option<f64>,
    /// The rate may be what the application had to send and not what the path can do.
    pub(super) app_limited: bool,
    /// A round trip has passed since the last sample that said so, and no less than a round takes.
    pub(super) round_ended: bool,
    /// Nothing had been heard for long while data was under way.
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

    /// Bytes known to have arrived, all in all.
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
        // One entry for all packets that leave together.
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

    /// Ends a batch. Rates are measured over no less than half of `round_trip`: over shorter times
    /// they show how acknowledgements bunch.
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

    /// Sends a packet of 1000 bytes each millisecond for `count` ms, acknowledged an RTT later.
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
