//! What became of the packets, by the phase in which they left.
//!
//! Loss that stays when less is sent is the path's own and is made up for; loss that goes away is
//! a queue's overflow or a policer's doing, and is not. So the path's loss is measured only on what
//! left while draining.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most loss that is made up for. Whatever loses more is better served by less traffic.
const COMPENSATED_LOSS_MAX: f64 = 0.18;

/// How long a lost packet is under way beside one that arrives, in round trips, until it is known
/// to be lost: quinn's time threshold of 1.2, and the spacing of acknowledgements.
const LOSS_DETECTION_RTTS: f64 = 1.25;

/// Epochs that are kept: more than pass in the few round trips until the last word on a packet.
const EPOCHS_MAX: usize = 12;

/// Packets that a share must be made from before it says anything.
const LOSS_SAMPLE_PACKETS_MIN: f64 = 20.0;

/// An epoch that lost more than this met an outage, not the path's usual loss.
const OUTAGE_LOSS: f64 = 0.4;

/// Packets after which an epoch's loss would count for all.
const FULL_WEIGHT_PACKETS: f64 = 1500.0;

#[derive(Debug, Clone)]
pub(super) struct LossAccount {
    epochs: VecDeque<Epoch>,
    base_loss: Option<f64>,
    round: ByteCount,
    /// Of rounds that were under way before the path was full: no queue can have spilled in them.
    startup: ByteCount,
    mtu: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochKind {
    ProbeUp,
    ProbeDown,
    Other,
}

#[derive(Debug, Clone)]
struct Epoch {
    started: Instant,
    kind: EpochKind,
    count: ByteCount,
    /// Round trips of its packets, summed up.
    rtt_sum: Duration,
    rtt_count: u32,
    /// Its loss has been taken into account, or must not be.
    settled: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct ByteCount {
    acked: u64,
    lost: u64,
}

impl ByteCount {
    fn bytes(self) -> u64 {
        self.acked + self.lost
    }

    fn loss_rate(self) -> f64 {
        self.lost as f64 / self.bytes().max(1) as f64
    }
}

/// A round's loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundLoss {
    /// Share of bytes, 0 where there were too few to tell.
    pub(super) rate: f64,
    /// Packets that it was measured on.
    pub(super) packets: f64,
    count: ByteCount,
}

/// Mean round trips of what left while cruising, in the probe after it, and in the drain after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueResponse {
    pub(super) cruise_rtt: Duration,
    pub(super) probe_up_rtt: Duration,
    pub(super) probe_down_rtt: Duration,
}

impl LossAccount {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        let mut loss_account = Self {
            epochs: VecDeque::new(),
            base_loss: None,
            round: ByteCount::default(),
            startup: ByteCount::default(),
            mtu: f64::from(mtu),
        };
        loss_account.begin_epoch(now, EpochKind::Other);
        loss_account
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// What leaves from now on belongs to another phase.
    pub(super) fn begin_epoch(&mut self, now: Instant, kind: EpochKind) {
        if self.epochs.len() == EPOCHS_MAX {
            self.epochs.pop_front();
        }
        let (count, rtt_sum) = (ByteCount::default(), Duration::ZERO);
        self.epochs.push_back(Epoch { started: now, kind, count, rtt_sum, rtt_count: 0, settled: false });
    }

    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.round.acked += bytes;
        if let Some(epoch) = self.epoch_at(sent) {
            epoch.count.acked += bytes;
            epoch.rtt_sum += now.saturating_duration_since(sent);
            epoch.rtt_count += 1;
        }
    }

    pub(super) fn on_loss(&mut self, sent: Instant, bytes: u64, persistent: bool) {
        self.round.lost += bytes;
        if let Some(epoch) = self.epoch_at(sent) {
            epoch.count.lost += bytes;
            epoch.settled |= persistent;
        }
    }

    /// Loss of the round that is ending; starts the next.
    pub(super) fn end_round(&mut self) -> RoundLoss {
        let round = std::mem::take(&mut self.round);
        let packets = round.bytes() as f64 / self.mtu;
        RoundLoss {
            rate: if packets > LOSS_SAMPLE_PACKETS_MIN { round.loss_rate() } else { 0.0 },
            packets,
            count: round,
        }
    }

    /// The path wasn't full in that round.
    pub(super) fn add_startup_round(&mut self, round: RoundLoss) {
        self.startup.acked += round.count.acked;
        self.startup.lost += round.count.lost;
    }

    /// Takes the loss of drains into account on which the last word has been spoken.
    pub(super) fn update_base_loss(&mut self, now: Instant, rtt: Duration) {
        for index in 1..self.epochs.len() {
            let ended = self.epochs[index].started;
            let epoch = &mut self.epochs[index - 1];
            let all_reported = now.saturating_duration_since(ended) > rtt + rtt / 4;
            if epoch.kind != EpochKind::ProbeDown || epoch.settled || !all_reported {
                continue;
            }
            epoch.settled = true;
            let (packets, loss) = (epoch.count.bytes() as f64 / self.mtu, epoch.count.loss_rate());
            if packets > LOSS_SAMPLE_PACKETS_MIN && loss < OUTAGE_LOSS {
                let weight = (packets / FULL_WEIGHT_PACKETS).clamp(0.1, 0.4);
                self.base_loss = Some(self.base_loss.map_or(loss, |base| base + (loss - base) * weight));
            }
        }
    }

    /// The path's own loss; none before a drain has shown it, or a policer that the start ran into
    /// would pass for it.
    pub(super) fn base_loss(&self) -> f64 {
        self.base_loss.unwrap_or(0.0)
    }

    /// By how much more has to be under way for all to arrive in time.
    pub(super) fn compensation(&self) -> f64 {
        compensation(self.base_loss())
    }

    /// The same while starting: by the loss of rounds that cannot have spilled.
    pub(super) fn startup_compensation(&self) -> f64 {
        compensation(self.base_loss.unwrap_or(self.startup.loss_rate()))
    }

    /// Loss of what left during the last probe, if anything is known of it.
    pub(super) fn probe_up_loss(&self) -> Option<f64> {
        let up = self.epochs.iter().rev().find(|epoch| epoch.kind == EpochKind::ProbeUp)?;
        (up.count.bytes() > 0).then(|| up.count.loss_rate())
    }

    /// Mean round trip of what left during the last drain.
    pub(super) fn probe_down_rtt(&self) -> Option<Duration> {
        let down = self.epochs.iter().rev().find(|epoch| epoch.kind == EpochKind::ProbeDown)?;
        down.mean_rtt()
    }

    /// What the last probe and its drain did to the round trip, if that is known.
    pub(super) fn queue_response(&self) -> Option<QueueResponse> {
        let down = self.epochs.iter().rposition(|epoch| epoch.kind == EpochKind::ProbeDown)?;
        let [cruise, up] = [down.checked_sub(2)?, down - 1].map(|index| &self.epochs[index]);
        if (cruise.kind, up.kind) != (EpochKind::Other, EpochKind::ProbeUp) {
            return None;
        }
        Some(QueueResponse {
            cruise_rtt: cruise.mean_rtt()?,
            probe_up_rtt: up.mean_rtt()?,
            probe_down_rtt: self.epochs[down].mean_rtt()?,
        })
    }

    fn epoch_at(&mut self, sent: Instant) -> Option<&mut Epoch> {
        let index = self.epochs.iter().rposition(|epoch| epoch.started <= sent).unwrap_or(0);
        self.epochs.get_mut(index)
    }
}

/// More has to leave, and what is lost counts as under way until that is known. See [`MOST`].
fn compensation(loss: f64) -> f64 {
    let loss = loss.clamp(0.0, COMPENSATED_LOSS_MAX);
    (1.0 - loss + loss * LOSS_DETECTION_RTTS) / (1.0 - loss)
}

impl Epoch {
    fn mean_rtt(&self) -> Option<Duration> {
        const RTT_SAMPLES_MIN: u32 = 4;
        (self.rtt_count >= RTT_SAMPLES_MIN).then(|| self.rtt_sum / self.rtt_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// A phase of 200 ms in which 1000 packets leave and so many of them are lost.
    fn epoch(loss_account: &mut LossAccount, at: Instant, kind: EpochKind, lost: u64) {
        loss_account.begin_epoch(at, kind);
        loss_account.on_ack(at + RTT, at, (1000 - lost) * 1000);
        loss_account.on_loss(at, lost * 1000, false);
    }

    #[test]
    fn base_loss_is_measured_in_down_phases_only() {
        let start = Instant::now();
        let mut loss_account = LossAccount::new(start, 1000);
        let mut now = start;
        for _ in 0..10 {
            for (kind, lost) in
                [(EpochKind::ProbeUp, 300), (EpochKind::ProbeDown, 50), (EpochKind::Other, 100)]
            {
                epoch(&mut loss_account, now, kind, lost);
                now += RTT * 2;
            }
            loss_account.update_base_loss(now, RTT);
        }
        assert!((0.049..0.051).contains(&loss_account.base_loss()), "{}", loss_account.base_loss());
        assert_eq!(loss_account.probe_up_loss(), Some(0.3));
    }

    #[test]
    fn compensation_is_capped_and_outages_are_ignored() {
        let start = Instant::now();
        let mut loss_account = LossAccount::new(start, 1000);
        epoch(&mut loss_account, start, EpochKind::ProbeDown, 300);
        loss_account.begin_epoch(start + RTT, EpochKind::Other);
        loss_account.update_base_loss(start + RTT * 9, RTT);
        assert_eq!(loss_account.base_loss(), 0.3);
        assert!((1.25..1.30).contains(&loss_account.compensation()));
        epoch(&mut loss_account, start + RTT * 10, EpochKind::ProbeDown, 900);
        loss_account.begin_epoch(start + RTT * 11, EpochKind::Other);
        loss_account.update_base_loss(start + RTT * 19, RTT);
        assert_eq!(loss_account.base_loss(), 0.3);
    }

    #[test]
    fn a_round_of_few_packets_has_no_loss_rate() {
        let start = Instant::now();
        let mut loss_account = LossAccount::new(start, 1000);
        loss_account.on_ack(start + RTT, start, 5000);
        loss_account.on_loss(start, 5000, false);
        assert_eq!(loss_account.end_round().rate, 0.0);
        loss_account.on_ack(start + RTT, start, 50_000);
        loss_account.on_loss(start, 50_000, false);
        assert_eq!(loss_account.end_round().rate, 0.5);
        assert_eq!(loss_account.end_round().packets, 0.0);
    }
}
