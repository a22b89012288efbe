//! `fixed`: the rate that the user knows the link to have, whatever is lost.
//!
//! Must back off where less than four fifths keep arriving: the stated rate is then wrong, or a
//! policer throws away what goes beyond its own. Where a batch of acknowledgements is more than the rate has
//! under way, on short links, a link that carries more gets more: a batch a round trip.

use super::{Algorithm, Measured, Rate, SLICES, least_window};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Share of arrivals below which loss is no longer made up for.
const FEWEST: f64 = 0.8;

/// Time over which arrivals are counted, in slots of a second.
const SLOT: Duration = Duration::from_secs(1);
const SLOTS: usize = 5;

/// Slots with too few arrivals, one after the other, after which the rate is cut: an outage makes one.
const STAYS: u32 = 2;

/// Growth of a cut rate per slot, until the stated one is reached again.
const RECOVERY: f64 = 1.1;

/// Packets from which on a share says something.
const ENOUGH: f64 = 50.0;

/// What QUIC adds to a payload: header, tag and frames of a full packet. A stated rate is what a
/// user measures, the payload's.
const OVERHEAD: f64 = 1.01;

/// How long a lost packet is under way beside one that arrives, in round trips. Less than the 1.2 of
/// quinn's time threshold, since the packet threshold often finds it first; more would queue.
const FOUND_LOST: f64 = 1.1;

/// Least round trips to which the window may grow: a stated rate above the link's would
/// otherwise feed its own queue.
const LONGEST: f64 = 1.5;

/// The window before the round trip is known.
const INITIAL_WINDOW: f64 = 256.0 * 1024.0;

/// Sends at a stated rate.
#[derive(Debug, Clone)]
pub struct Fixed {
    stated: f64,
    /// At most the stated one, bytes per second.
    rate: f64,
    mtu: f64,
    smoothed: Option<Duration>,
    least: LeastRoundTrip,
    newest: Option<Instant>,
    slot: Slot,
    slots: VecDeque<Slot>,
    low: u32,
}

/// What became of packets in a slot of time.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    began: Option<Instant>,
    acked: u64,
    lost: u64,
}

impl Fixed {
    /// For a sender with this rate.
    #[must_use]
    pub fn new(rate: Rate, mtu: u16) -> Self {
        let stated = rate.bytes_per_second();
        Self {
            stated,
            rate: stated,
            mtu: f64::from(mtu),
            smoothed: None,
            least: LeastRoundTrip::default(),
            newest: None,
            slot: Slot::default(),
            slots: VecDeque::new(),
            low: 0,
        }
    }

    /// Share of what was sent of late that arrived.
    fn arrivals(&self) -> f64 {
        let all = self.slots.iter().chain([&self.slot]);
        let (acked, lost) = all.fold((0, 0), |(acked, lost), slot| (acked + slot.acked, lost + slot.lost));
        self.share(acked, lost).unwrap_or(1.0)
    }

    fn share(&self, acked: u64, lost: u64) -> Option<f64> {
        let sent = (acked + lost) as f64;
        (sent >= ENOUGH * self.mtu).then(|| acked as f64 / sent)
    }

    fn end_slot(&mut self, now: Instant, elapsed: Duration) {
        let slot = std::mem::replace(&mut self.slot, Slot { began: Some(now), ..Slot::default() });
        match self.share(slot.acked, slot.lost) {
            Some(share) if share < FEWEST => {
                self.low += 1;
                if self.low >= STAYS {
                    self.rate = (slot.acked as f64 / OVERHEAD / elapsed.as_secs_f64()).min(self.stated);
                    // What was lost at the old rate says nothing of the new one.
                    self.low = 0;
                    self.slots.clear();
                    return;
                }
            }
            Some(_) => {
                self.low = 0;
                self.rate = (self.rate * RECOVERY).min(self.stated);
            }
            None => {}
        }
        if self.slots.len() == SLOTS {
            self.slots.pop_front();
        }
        self.slots.push_back(slot);
    }
}

impl Algorithm for Fixed {
    fn on_sent(&mut self, _now: Instant, _bytes: u64) {}

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.slot.acked += bytes;
        if self.newest.is_none_or(|newest| sent > newest) {
            self.newest = Some(sent);
            let rtt = now.saturating_duration_since(sent);
            self.smoothed = Some(self.smoothed.map_or(rtt, |smoothed| (smoothed * 7 + rtt) / 8));
            self.least.observe(now, rtt);
        }
    }

    fn on_acks_end(&mut self, now: Instant, _in_flight: u64, _app_limited: bool) {
        let began = *self.slot.began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= SLOT {
            self.end_slot(now, elapsed);
        }
    }

    fn on_loss(&mut self, _now: Instant, _sent: Instant, bytes: u64, persistent: bool) {
        // An outage says nothing of the rate.
        if !persistent {
            self.slot.lost += bytes;
        }
    }

    fn on_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    fn window(&self) -> u64 {
        let fewest = least_window(self.rate, self.mtu);
        let Some(smoothed) = self.smoothed else { return INITIAL_WINDOW.max(fewest) as u64 };
        let least = self.least.get();
        let round_trip = smoothed.min(least.mul_f64(LONGEST).max(least + SLICES)).as_secs_f64();
        let arrive = self.arrivals().max(FEWEST);
        let lost = 1.0 - arrive;
        let window = self.rate * OVERHEAD / arrive * round_trip * (arrive + lost * FOUND_LOST);
        window.max(fewest) as u64
    }

    fn measured(&self) -> Measured {
        Measured {
            phase: "fixed",
            window: self.window(),
            rate: Some(Rate::measured(self.rate)),
            min_rtt: self.smoothed.map(|_| self.least.get()),
            loss: 1.0 - self.arrivals(),
            memory: None,
        }
    }
}

/// The least round trip of the last ten to twenty seconds.
#[derive(Debug, Clone, Copy, Default)]
struct LeastRoundTrip {
    began: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl LeastRoundTrip {
    fn observe(&mut self, now: Instant, rtt: Duration) {
        const HALF: Duration = Duration::from_secs(10);
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= HALF {
            self.began = Some(now);
            self.before = self.now.take();
        }
        self.now = Some(self.now.map_or(rtt, |least| least.min(rtt)));
    }

    fn get(&self) -> Duration {
        self.now.into_iter().chain(self.before).min().unwrap_or_default()
    }
}
