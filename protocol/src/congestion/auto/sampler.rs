//! Delivery-rate samples: how fast the path delivered what was under way together.
//!
//! As draft-ietf-ccwg-bbr, section 4.1, has it, but keyed by the time of sending, since quinn tells
//! of no packet numbers. Knows nothing of windows and phases.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Departures older than this are forgotten: no acknowledgement is still to come, or it would say
/// nothing of the path as it is.
const MEMORY: Duration = Duration::from_secs(10);

/// The shortest silence that counts as one. Shorter ones are late acknowledgements.
const SILENCE: Duration = Duration::from_millis(200);

/// No round is shorter. Within less, a rate shows how soon busy hosts get to their packets, and three slow
/// rounds in a row are no path that became slower.
const SHORTEST_ROUND: Duration = Duration::from_millis(8);

#[derive(Debug, Clone)]
pub(super) struct Sampler {
    departures: VecDeque<Departure>,
    /// Bytes known to have arrived, all in all, and when that became known.
    delivered: u64,
    delivered_at: Instant,
    /// When the newest packet left that is known to have arrived: the samples' send side.
    first_sent: Instant,
    /// Nothing is under way, so that the next packet begins a new measurement.
    idle: bool,
    /// Packets that leave before so much has arrived were held up by the application.
    limited_until: u64,
    /// The round ends when a packet arrives that left after so much had, and not at once.
    round_end: u64,
    round_began: Instant,
    batch: Option<Batch>,
    newest: Option<Instant>,
    heard: Option<Instant>,
}

/// How things stood when packets left.
#[derive(Debug, Clone, Copy)]
struct Departure {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    limited: bool,
}

#[derive(Debug, Clone, Copy)]
struct Batch {
    newest: Instant,
    bytes: u64,
}

/// What one batch of acknowledgements shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When its newest packet left.
    pub(super) sent: Instant,
    /// Bytes acknowledged.
    pub(super) acked: u64,
    /// Round trip of the newest packet, if it is newer than all before.
    pub(super) rtt: Option<Duration>,
    /// Bytes per second delivered while that packet was under way.
    pub(super) rate: Option<f64>,
    /// The rate may be what the application had to send and not what the path can do.
    pub(super) limited: bool,
    /// A round trip has passed since the last sample that said so, and no less than a round takes.
    pub(super) round_ended: bool,
    /// Nothing had been heard for long while data was under way.
    pub(super) after_silence: bool,
}

impl Sampler {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            departures: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            idle: true,
            limited_until: 0,
            round_end: 0,
            round_began: now,
            batch: None,
            newest: None,
            heard: None,
        }
    }

    /// Bytes known to have arrived, all in all.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn sent(&mut self, now: Instant) {
        if self.idle {
            self.idle = false;
            self.first_sent = now;
            self.delivered_at = now;
            self.heard = None;
        }
        // One entry for all packets that leave together.
        if self.departures.back().is_some_and(|departure| departure.at == now) {
            return;
        }
        self.forget(now.checked_sub(MEMORY));
        self.departures.push_back(Departure {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            limited: self.delivered < self.limited_until,
        });
    }

    pub(super) fn acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
        let batch = self.batch.get_or_insert(Batch { newest: sent, bytes: 0 });
        batch.newest = batch.newest.max(sent);
        batch.bytes += bytes;
    }

    /// Ends a batch. Rates are measured over no less than half of `round_trip`: over shorter times
    /// they show how acknowledgements bunch.
    pub(super) fn end_batch(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        round_trip: Duration,
    ) -> Option<Sample> {
        let was_idle = self.idle;
        self.idle = in_flight == 0;
        if app_limited {
            self.limited_until = self.delivered + in_flight.max(1);
        }
        let batch = self.batch.take()?;
        let heard = self.heard.replace(now);
        let silence = heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard));
        let mut sample = Sample {
            sent: batch.newest,
            acked: batch.bytes,
            rtt: None,
            rate: None,
            limited: false,
            round_ended: false,
            after_silence: !was_idle && silence > SILENCE.max(round_trip * 2),
        };
        if self.newest.is_none_or(|newest| batch.newest > newest) {
            self.newest = Some(batch.newest);
            sample.rtt = Some(now.saturating_duration_since(batch.newest));
        }
        let Some(departure) = self.departure(batch.newest) else { return Some(sample) };
        self.first_sent = departure.at;
        self.forget(departure.at.checked_sub(round_trip * 4));
        let arriving = now.saturating_duration_since(departure.delivered_at);
        let leaving = departure.at.saturating_duration_since(departure.first_sent);
        let elapsed = arriving.max(leaving);
        if elapsed >= round_trip / 2 && !elapsed.is_zero() {
            sample.rate = Some((self.delivered - departure.delivered) as f64 / elapsed.as_secs_f64());
            sample.limited = departure.limited;
        }
        let lasted = now.saturating_duration_since(self.round_began);
        if departure.delivered >= self.round_end && lasted >= SHORTEST_ROUND {
            self.round_end = self.delivered;
            self.round_began = now;
            sample.round_ended = true;
        }
        Some(sample)
    }

    fn departure(&self, at: Instant) -> Option<Departure> {
        let index = self.departures.partition_point(|departure| departure.at < at);
        self.departures.get(index).copied().filter(|departure| departure.at == at)
    }

    fn forget(&mut self, before: Option<Instant>) {
        let Some(before) = before else { return };
        while self.departures.front().is_some_and(|departure| departure.at < before) {
            self.departures.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const GAP: Duration = Duration::from_millis(1);

    /// Sends a packet of 1000 bytes each millisecond for `count` ms, acknowledged an RTT later.
    fn steady(sampler: &mut Sampler, start: Instant, count: u32, app_limited: bool) -> Vec<Sample> {
        let mut samples = Vec::new();
        for tick in 0..count + 100 {
            let now = start + GAP * tick;
            if tick >= 100 {
                sampler.acked(now, now - RTT, 1000);
                let in_flight = u64::from(count.min(tick) - (tick - 100)) * 1000 - 1000;
                samples.extend(sampler.end_batch(now, in_flight, app_limited, RTT));
            }
            if tick < count {
                sampler.sent(now);
            }
        }
        samples
    }

    #[test]
    fn a_steady_flow_is_measured_at_its_rate() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let samples = steady(&mut sampler, start, 500, false);
        assert!(samples.iter().all(|sample| sample.rtt == Some(RTT)));
        for sample in &samples[200..] {
            let rate = sample.rate.unwrap();
            assert!((9.9e5..1.01e6).contains(&rate), "{rate}");
            assert!(!sample.limited);
        }
        let rounds = samples.iter().filter(|sample| sample.round_ended).count();
        assert!((5..=6).contains(&rounds), "{rounds} rounds in 500 ms");
    }

    #[test]
    fn a_round_on_a_short_path_takes_as_long_as_hosts_are_late() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let rounds = (0..800).filter(|tick| {
            let now = start + GAP * *tick;
            sampler.sent(now);
            sampler.acked(now + GAP / 2, now, 1000);
            sampler.end_batch(now + GAP / 2, 1000, false, GAP / 2).is_some_and(|sample| sample.round_ended)
        });
        let rounds = rounds.count();
        assert!((50..=100).contains(&rounds), "{rounds} rounds in 800 ms");
    }

    #[test]
    fn what_the_application_held_back_is_marked() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let samples = steady(&mut sampler, start, 300, true);
        assert!(samples[150..].iter().all(|sample| sample.limited));
    }

    #[test]
    fn a_pause_is_not_part_of_a_rate_and_no_silence() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        steady(&mut sampler, start, 300, false);
        let samples = steady(&mut sampler, start + Duration::from_secs(60), 300, false);
        assert!(samples.iter().all(|sample| !sample.after_silence));
        assert!(samples[150..].iter().all(|sample| sample.rate.unwrap() > 9.9e5));
    }

    #[test]
    fn a_silence_is_told() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        sampler.sent(start);
        sampler.sent(start + GAP);
        sampler.acked(start + RTT, start, 1000);
        let first = sampler.end_batch(start + RTT, 1000, false, RTT).unwrap();
        assert!(!first.after_silence);
        let late = start + Duration::from_secs(3);
        sampler.acked(late, start + GAP, 1000);
        assert!(sampler.end_batch(late, 0, false, RTT).unwrap().after_silence);
    }

    #[test]
    fn a_server_that_only_acknowledges_keeps_no_history() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        for second in 0..1000 {
            sampler.sent(start + Duration::from_secs(second));
        }
        assert!(sampler.departures.len() <= 11);
    }
}
