//! `fixed`: sends at the rate that the user states, whatever the loss rate is.
//!
//! Must reduce the rate when less than four fifths of the packets arrive: then the stated rate is wrong, or a
//! policer drops the excess. On a short path, where a batch of acknowledgements covers more than the BDP of
//! the stated rate, the window is at least one batch, so a faster link delivers more than the stated rate.

use super::constants::{HOST_JITTER, INITIAL_WINDOW, min_window};
use super::{Algorithm, Measured, Rate};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Share of packets that arrive, below which the window no longer compensates for loss.
const DELIVERED_SHARE_MIN: f64 = 0.8;

/// Length of an interval in which acknowledged and lost bytes are counted.
const INTERVAL_DURATION: Duration = Duration::from_secs(1);

/// Past intervals that count for the delivered share.
const PAST_INTERVALS_MAX: usize = 5;

/// Consecutive intervals below [`DELIVERED_SHARE_MIN`] after which the rate is cut. An outage causes only
/// one.
const LOW_INTERVALS_BEFORE_CUT: u32 = 2;

/// Growth of a cut rate per interval, until it reaches the stated rate again.
const RECOVERY_GAIN: f64 = 1.1;

/// Packets that a delivered share needs before it counts.
const SAMPLE_PACKETS_MIN: f64 = 50.0;

/// Packet size ÷ payload size: header, tag and frames of a full QUIC packet. The stated rate is that of the
/// payload, since that is what a user measures.
const PACKET_OVERHEAD: f64 = 1.01;

/// Round trips for which a lost packet counts as in flight; an acknowledged one counts for one. Less than
/// the QUIC stack's time threshold of 1.2, since the packet threshold often detects the loss first; a higher value
/// builds a queue.
const LOSS_DETECTION_RTTS: f64 = 1.1;

/// Limit of the RTT in the window's BDP, in min_rtts. Without it, a stated rate above the link's rate would
/// build a queue, which raises the RTT and then the window.
const RTT_GROWTH_MAX: f64 = 1.5;

/// Sends at a stated rate.
#[derive(Debug, Clone)]
pub struct Fixed {
    stated_rate: f64,
    /// Current rate in bytes per second, at most the stated one.
    rate: f64,
    mtu: f64,
    smoothed_rtt: Option<Duration>,
    min_rtt: MinRttFilter,
    newest_sent: Option<Instant>,
    interval: Interval,
    past_intervals: VecDeque<Interval>,
    low_intervals: u32,
}

/// Bytes acknowledged and lost in an interval.
#[derive(Debug, Clone, Copy, Default)]
struct Interval {
    began: Option<Instant>,
    acked: u64,
    lost: u64,
}

impl Fixed {
    /// An algorithm that sends at `rate`.
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

    /// Share of the packets of the last intervals that arrived.
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
                    // Loss at the old rate says nothing about the new rate.
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
        // Loss in an outage says nothing about the rate.
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
            loss: Some(1.0 - self.delivered_share()),
            memory: None,
        }
    }
}

/// Windowed minimum of the RTT, over the last 10 to 20 s.
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
