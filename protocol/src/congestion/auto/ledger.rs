//! What became of the packets, by the phase in which they left.
//!
//! Loss that stays when less is sent is the path's own and is made up for; loss that goes away is
//! a queue's overflow or a policer's doing, and is not. So the path's loss is measured only on what
//! left while draining.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most loss that is made up for. Whatever loses more is better served by less traffic.
const MOST: f64 = 0.18;

/// How long a lost packet is under way beside one that arrives, in round trips, until it is known
/// to be lost: quinn's time threshold of 1.2, and the spacing of acknowledgements.
const FOUND_LOST: f64 = 1.25;

/// Epochs that are kept: more than pass in the few round trips until the last word on a packet.
const EPOCHS: usize = 12;

/// Packets that a share must be made from before it says anything.
const FEW: f64 = 20.0;

/// An epoch that lost more than this met an outage, not the path's usual loss.
const OUTAGE: f64 = 0.4;

/// Packets after which an epoch's loss would count for all.
const MANY: f64 = 1500.0;

#[derive(Debug, Clone)]
pub(super) struct Ledger {
    epochs: VecDeque<Epoch>,
    steady: Option<f64>,
    round: Count,
    /// Of rounds that were under way before the path was full: no queue can have spilled in them.
    early: Count,
    mtu: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Probing,
    Draining,
    Other,
}

#[derive(Debug, Clone)]
struct Epoch {
    since: Instant,
    kind: Kind,
    count: Count,
    /// Round trips of its packets, summed up.
    delay: Duration,
    delays: u32,
    /// Its loss has been taken into account, or must not be.
    closed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acked: u64,
    lost: u64,
}

impl Count {
    fn bytes(self) -> u64 {
        self.acked + self.lost
    }

    fn share(self) -> f64 {
        self.lost as f64 / self.bytes().max(1) as f64
    }
}

/// A round's loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundLoss {
    /// Share of bytes, 0 where there were too few to tell.
    pub(super) share: f64,
    /// Packets that it was measured on.
    pub(super) packets: f64,
    count: Count,
}

/// Mean round trips of what left while cruising, in the probe after it, and in the drain after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swing {
    pub(super) cruised: Duration,
    pub(super) probed: Duration,
    pub(super) drained: Duration,
}

impl Ledger {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        let mut ledger = Self {
            epochs: VecDeque::new(),
            steady: None,
            round: Count::default(),
            early: Count::default(),
            mtu: f64::from(mtu),
        };
        ledger.open(now, Kind::Other);
        ledger
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// What leaves from now on belongs to another phase.
    pub(super) fn open(&mut self, now: Instant, kind: Kind) {
        if self.epochs.len() == EPOCHS {
            self.epochs.pop_front();
        }
        let (count, delay) = (Count::default(), Duration::ZERO);
        self.epochs.push_back(Epoch { since: now, kind, count, delay, delays: 0, closed: false });
    }

    pub(super) fn acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.round.acked += bytes;
        if let Some(epoch) = self.epoch(sent) {
            epoch.count.acked += bytes;
            epoch.delay += now.saturating_duration_since(sent);
            epoch.delays += 1;
        }
    }

    pub(super) fn lost(&mut self, sent: Instant, bytes: u64, persistent: bool) {
        self.round.lost += bytes;
        if let Some(epoch) = self.epoch(sent) {
            epoch.count.lost += bytes;
            epoch.closed |= persistent;
        }
    }

    /// Loss of the round that is ending; starts the next.
    pub(super) fn end_round(&mut self) -> RoundLoss {
        let round = std::mem::take(&mut self.round);
        let packets = round.bytes() as f64 / self.mtu;
        RoundLoss { share: if packets > FEW { round.share() } else { 0.0 }, packets, count: round }
    }

    /// The path wasn't full in that round.
    pub(super) fn was_early(&mut self, round: RoundLoss) {
        self.early.acked += round.count.acked;
        self.early.lost += round.count.lost;
    }

    /// Takes the loss of drains into account on which the last word has been spoken.
    pub(super) fn settle(&mut self, now: Instant, round_trip: Duration) {
        for index in 1..self.epochs.len() {
            let over = self.epochs[index].since;
            let epoch = &mut self.epochs[index - 1];
            let heard_of = now.saturating_duration_since(over) > round_trip + round_trip / 4;
            if epoch.kind != Kind::Draining || epoch.closed || !heard_of {
                continue;
            }
            epoch.closed = true;
            let (packets, loss) = (epoch.count.bytes() as f64 / self.mtu, epoch.count.share());
            if packets > FEW && loss < OUTAGE {
                let weight = (packets / MANY).clamp(0.1, 0.4);
                self.steady = Some(self.steady.map_or(loss, |steady| steady + (loss - steady) * weight));
            }
        }
    }

    /// The path's own loss; none before a drain has shown it, or a policer that the start ran into
    /// would pass for it.
    pub(super) fn usual(&self) -> f64 {
        self.steady.unwrap_or(0.0)
    }

    /// By how much more has to be under way for all to arrive in time.
    pub(super) fn compensation(&self) -> f64 {
        compensation(self.usual())
    }

    /// The same while starting: by the loss of rounds that cannot have spilled.
    pub(super) fn early_compensation(&self) -> f64 {
        compensation(self.steady.unwrap_or(self.early.share()))
    }

    /// Loss of what left during the last probe, if anything is known of it.
    pub(super) fn probe_loss(&self) -> Option<f64> {
        let probe = self.epochs.iter().rev().find(|epoch| epoch.kind == Kind::Probing)?;
        (probe.count.bytes() > 0).then(|| probe.count.share())
    }

    /// Mean round trip of what left during the last drain.
    pub(super) fn drained_delay(&self) -> Option<Duration> {
        let drain = self.epochs.iter().rev().find(|epoch| epoch.kind == Kind::Draining)?;
        drain.mean_delay()
    }

    /// What the last probe and its drain did to the round trip, if that is known.
    pub(super) fn swing(&self) -> Option<Swing> {
        let drain = self.epochs.iter().rposition(|epoch| epoch.kind == Kind::Draining)?;
        let [cruise, probe] = [drain.checked_sub(2)?, drain - 1].map(|index| &self.epochs[index]);
        if (cruise.kind, probe.kind) != (Kind::Other, Kind::Probing) {
            return None;
        }
        Some(Swing {
            cruised: cruise.mean_delay()?,
            probed: probe.mean_delay()?,
            drained: self.epochs[drain].mean_delay()?,
        })
    }

    fn epoch(&mut self, sent: Instant) -> Option<&mut Epoch> {
        let index = self.epochs.iter().rposition(|epoch| epoch.since <= sent).unwrap_or(0);
        self.epochs.get_mut(index)
    }
}

/// More has to leave, and what is lost counts as under way until that is known. See [`MOST`].
fn compensation(loss: f64) -> f64 {
    let loss = loss.clamp(0.0, MOST);
    (1.0 - loss + loss * FOUND_LOST) / (1.0 - loss)
}

impl Epoch {
    fn mean_delay(&self) -> Option<Duration> {
        const ENOUGH: u32 = 4;
        (self.delays >= ENOUGH).then(|| self.delay / self.delays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// A phase of 200 ms in which 1000 packets leave and so many of them are lost.
    fn phase(ledger: &mut Ledger, at: Instant, kind: Kind, lost: u64) {
        ledger.open(at, kind);
        ledger.acked(at + RTT, at, (1000 - lost) * 1000);
        ledger.lost(at, lost * 1000, false);
    }

    #[test]
    fn only_loss_that_sending_less_does_not_cure_is_made_up_for() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start, 1000);
        let mut now = start;
        for _ in 0..10 {
            for (kind, lost) in [(Kind::Probing, 300), (Kind::Draining, 50), (Kind::Other, 100)] {
                phase(&mut ledger, now, kind, lost);
                now += RTT * 2;
            }
            ledger.settle(now, RTT);
        }
        assert!((0.049..0.051).contains(&ledger.usual()), "{}", ledger.usual());
        assert_eq!(ledger.probe_loss(), Some(0.3));
    }

    #[test]
    fn there_is_a_cap_on_what_is_made_up_for_and_an_outage_is_no_loss() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start, 1000);
        phase(&mut ledger, start, Kind::Draining, 300);
        ledger.open(start + RTT, Kind::Other);
        ledger.settle(start + RTT * 9, RTT);
        assert_eq!(ledger.usual(), 0.3);
        assert!((1.25..1.30).contains(&ledger.compensation()));
        phase(&mut ledger, start + RTT * 10, Kind::Draining, 900);
        ledger.open(start + RTT * 11, Kind::Other);
        ledger.settle(start + RTT * 19, RTT);
        assert_eq!(ledger.usual(), 0.3);
    }

    #[test]
    fn a_round_s_loss_says_nothing_when_it_is_made_of_a_few_packets() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start, 1000);
        ledger.acked(start + RTT, start, 5000);
        ledger.lost(start, 5000, false);
        assert_eq!(ledger.end_round().share, 0.0);
        ledger.acked(start + RTT, start, 50_000);
        ledger.lost(start, 50_000, false);
        assert_eq!(ledger.end_round().share, 0.5);
        assert_eq!(ledger.end_round().packets, 0.0);
    }
}
