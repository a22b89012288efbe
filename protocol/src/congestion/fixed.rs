//! `fixed`: the rate that the user knows the link to have, whatever is lost.
//!
//! Must back off where less than four fifths keep arriving: the stated rate is then wrong, or a
//! policer throws away what goes beyond its own. Where a batch of acknowledgements is more than the rate has
//! under way, on short links, a link that carries more gets more: a batch a round trip.

use super::{Algorithm, HOST_JITTER, Measured, Rate, min_window};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Share of arrivals below which loss is no longer made up for.
const DELIVERED_SHARE_MIN: f64 = 0.8;

/// Time over which arrivals are counted, in slots of a second.
const INTERVAL_DURATION: Duration = Duration::from_secs(1);
const PAST_INTERVALS_MAX: usize = 5;

/// Slots with too few arrivals, one after the other, after which the rate is cut: an outage makes one.
const LOW_INTERVALS_BEFORE_CUT: u32 = 2;

/// Growth of a cut rate per slot, until the stated one is reached again.
const RECOVERY_GAIN: f64 = 1.1;

/// Packets from which on a share says something.
const SAMPLE_PACKETS_MIN: f64 = 50.0;

/// What QUIC adds to a payload: header, tag and frames of a full packet. A stated rate is what a
/// user measures, the payload's.
const PACKET_OVERHEAD: f64 = 1.01;

/// How long a lost packet is under way beside one that arrives, in round trips. Less than the 1.2 of
/// quinn's time threshold, since the packet threshold often finds it first; more would queue.
const LOSS_DETECTION_RTTS: f64 = 1.1;

/// Least round trips to which the window may grow: a stated rate above the link's would
/// otherwise feed its own queue.
const RTT_GROWTH_MAX: f64 = 1.5;

/// The window before the round trip is known.
const INITIAL_WINDOW: f64 = 256.0 * 1024.0;

/// Sends at a stated rate.
#[derive(Debug, Clone)]
pub struct Fixed {
    stated_rate: f64,
    /// At most the stated one, bytes per second.
    rate: f64,
    mtu: f64,
    smoothed_rtt: Option<Duration>,
    min_rtt: MinRttFilter,
    newest_sent: Option<Instant>,
    interval: Interval,
    past_intervals: VecDeque<Interval>,
    low_intervals: u32,
}

/// What became of packets in a slot of time.
#[derive(Debug, Clone, Copy, Default)]
struct Interval {
    began: Option<Instant>,
    acked: u64,
    lost: u64,
}

impl Fixed {
    /// For a sender with this rate.
    #[must_use]
    pub fn new(rate: Rate, mtu: u16) -> Self {
        let stated_rate = rate.bytes_per_second();
        Self {
            stated_rate,
            rate: stated_rate,
            mtu: f64::from(mtu),
            smoothed_rtt: None,
            min_rtt: MinRttFilter::default(),
            newest_sent: None,
            interval: Interval::default(),
            past_intervals: VecDeque::new(),
            low_intervals: 0,
        }
    }

    /// Share of what was sent of late that arrived.
    fn delivered_share(&self) -> f64 {
        let all = self.past_intervals.iter().chain([&self.interval]);
        let (acked, lost) =
            all.fold((0, 0), |(acked, lost), interval| (acked + interval.acked, lost + interval.lost));
        self.share_of(acked, lost).unwrap_or(1.0)
    }

    fn share_of(&self, acked: u64, lost: u64) -> Option<f64> {
        let sent = (acked + lost) as f64;
        (sent >= SAMPLE_PACKETS_MIN * self.mtu).then(|| acked as f64 / sent)
    }

    fn end_interval(&mut self, now: Instant, elapsed: Duration) {
        let interval =
            std::mem::replace(&mut self.interval, Interval { began: Some(now), ..Interval::default() });
        match self.share_of(interval.acked, interval.lost) {
            Some(share) if share < DELIVERED_SHARE_MIN => {
                self.low_intervals += 1;
                if self.low_intervals >= LOW_INTERVALS_BEFORE_CUT {
                    self.rate = (interval.acked as f64 / PACKET_OVERHEAD / elapsed.as_secs_f64())
                        .min(self.stated_rate);
                    // What was lost at the old rate says nothing of the new one.
                    self.low_intervals = 0;
                    self.past_intervals.clear();
                    return;
                }
            }
            Some(_) => {
                self.low_intervals = 0;
                self.rate = (self.rate * RECOVERY_GAIN).min(self.stated_rate);
            }
            None => {}
        }
        if self.past_intervals.len() == PAST_INTERVALS_MAX {
            self.past_intervals.pop_front();
        }
        self.past_intervals.push_back(interval);
    }
}

impl Algorithm for Fixed {
    fn on_sent(&mut self, _now: Instant, _bytes: u64) {}

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.interval.acked += bytes;
        if self.newest_sent.is_none_or(|newest| sent > newest) {
            self.newest_sent = Some(sent);
            let rtt = now.saturating_duration_since(sent);
            self.smoothed_rtt = Some(self.smoothed_rtt.map_or(rtt, |smoothed| (smoothed * 7 + rtt) / 8));
            self.min_rtt.observe(now, rtt);
        }
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, _app_limited: bool) {
        let began = *self.interval.began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= INTERVAL_DURATION {
            self.end_interval(now, elapsed);
        }
    }

    fn on_loss(&mut self, _now: Instant, _sent: Instant, bytes: u64, persistent: bool) {
        // An outage says nothing of the rate.
        if !persistent {
            self.interval.lost += bytes;
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    fn window(&self) -> u64 {
        let floor = min_window(self.rate, self.mtu);
        let Some(smoothed) = self.smoothed_rtt else { return INITIAL_WINDOW.max(floor) as u64 };
        let min_rtt = self.min_rtt.get();
        let rtt = smoothed.min(min_rtt.mul_f64(RTT_GROWTH_MAX).max(min_rtt + HOST_JITTER)).as_secs_f64();
        let delivered = self.delivered_share().max(DELIVERED_SHARE_MIN);
        let lost = 1.0 - delivered;
        let window = self.rate * PACKET_OVERHEAD / delivered * rtt * (delivered + lost * LOSS_DETECTION_RTTS);
        window.max(floor) as u64
    }

    fn measured(&self) -> Measured {
        Measured {
            phase: "fixed",
            window: self.window(),
            rate: Some(Rate::measured(self.rate)),
            min_rtt: self.smoothed_rtt.map(|_| self.min_rtt.get()),
            loss: 1.0 - self.delivered_share(),
            memory: None,
        }
    }
}

/// The least round trip of the last ten to twenty seconds.
#[derive(Debug, Clone, Copy, Default)]
struct MinRttFilter {
    half_began: Option<Instant>,
    current: Option<Duration>,
    previous: Option<Duration>,
}

impl MinRttFilter {
    fn observe(&mut self, now: Instant, rtt: Duration) {
        const HALF_WINDOW: Duration = Duration::from_secs(10);
        let began = *self.half_began.get_or_insert(now);
        if now.saturating_duration_since(began) >= HALF_WINDOW {
            self.half_began = Some(now);
            self.previous = self.current.take();
        }
        self.current = Some(self.current.map_or(rtt, |min| min.min(rtt)));
    }

    fn get(&self) -> Duration {
        self.current.into_iter().chain(self.previous).min().unwrap_or_default()
    }
}
