//! Counts acknowledged and lost bytes by the phase in which they were sent.
//!
//! Loss that remains when we send less is the path's own (base loss), and the window compensates for it. Loss
//! that disappears then was caused by a full queue or a policer, and must never be compensated for. So only
//! packets sent in Down phases count for the base loss.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Highest loss rate that the window compensates for. At a higher loss rate, sending less works better.
const COMPENSATED_LOSS_MAX: f64 = 0.18;

/// Round trips for which a lost packet counts as in flight; an acknowledged one counts for one. It is the QUIC stack's
/// time threshold of 1.2, and the interval between acknowledgements.
const LOSS_DETECTION_RTTS: f64 = 1.25;

/// Stored epochs: more than begin in the few round trips until all packets of an epoch are acknowledged or
/// declared lost.
const EPOCHS_MAX: usize = 12;

/// Packets that a loss rate needs before it counts.
const LOSS_SAMPLE_PACKETS_MIN: f64 = 20.0;

/// Loss rate from which on an epoch met an outage, so that its loss does not count.
const OUTAGE_LOSS: f64 = 0.4;

/// Packets of an epoch at which its loss rate would replace the base loss completely.
const FULL_WEIGHT_PACKETS: f64 = 1500.0;

#[derive(Debug, Clone)]
pub(super) struct LossAccount {
    epochs: VecDeque<Epoch>,
    base_loss: Option<f64>,
    round: ByteCount,
    /// Rounds that were in flight before the path was full, so no queue can have overflowed.
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
    /// Sum of the RTTs of its packets.
    rtt_sum: Duration,
    rtt_count: u32,
    /// Its loss is included in the base loss, or must not be.
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

/// Loss of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundLoss {
    /// Share of bytes lost; 0 if the round had too few packets.
    pub(super) rate: f64,
    /// Packets in the round.
    pub(super) packets: f64,
    count: ByteCount,
}

/// Mean RTTs of the packets sent in a Cruise phase, in the Up phase after it, and in the Down phase after
/// that.
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

    /// Begins an epoch: packets sent from now on count for it.
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

    /// Returns the loss of the current round and starts the next.
    pub(super) fn end_round(&mut self) -> RoundLoss {
        let round = std::mem::take(&mut self.round);
        let packets = round.bytes() as f64 / self.mtu;
        RoundLoss {
            rate: if packets > LOSS_SAMPLE_PACKETS_MIN { round.loss_rate() } else { 0.0 },
            packets,
            count: round,
        }
    }

    /// Records a round in which the path was not full yet.
    pub(super) fn add_startup_round(&mut self, round: RoundLoss) {
        self.startup.acked += round.count.acked;
        self.startup.lost += round.count.lost;
    }

    /// Updates the base loss from Down phases whose packets are all acknowledged or declared lost.
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

    /// The path's own loss rate. It is 0 until the first Down phase, since the loss in Startup may be a
    /// policer's.
    pub(super) fn base_loss(&self) -> f64 {
        self.base_loss.unwrap_or(0.0)
    }

    /// Factor on the bytes in flight that compensates for the base loss.
    pub(super) fn compensation(&self) -> f64 {
        compensation(self.base_loss())
    }

    /// The same for Startup.
    pub(super) fn startup_compensation(&self) -> f64 {
        compensation(self.early_base_loss().unwrap_or(0.0))
    }

    /// The path's own loss rate, until the first Down phase that of the rounds in which no queue can have overflowed.
    /// After Resume, there are none.
    pub(super) fn early_base_loss(&self) -> Option<f64> {
        let startup = || (self.startup.bytes() > 0).then(|| self.startup.loss_rate());
        self.base_loss.or_else(startup)
    }

    /// Loss rate of the packets sent in the last Up phase, if any are acknowledged or declared lost.
    pub(super) fn probe_up_loss(&self) -> Option<f64> {
        let up = self.epochs.iter().rev().find(|epoch| epoch.kind == EpochKind::ProbeUp)?;
        (up.count.bytes() > 0).then(|| up.count.loss_rate())
    }

    /// Mean RTT of the packets sent in the last Down phase.
    pub(super) fn probe_down_rtt(&self) -> Option<Duration> {
        let down = self.epochs.iter().rev().find(|epoch| epoch.kind == EpochKind::ProbeDown)?;
        down.mean_rtt()
    }

    /// How the RTT responded to the last Up and Down phases, if all three phases were measured.
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

/// Lost packets have to be sent again, and count as in flight until they are declared lost. The loss rate is
/// limited to [`COMPENSATED_LOSS_MAX`].
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

    /// An epoch in which 1000 packets are sent and `lost` of them are lost.
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
    fn startup_shows_the_base_loss_until_the_first_down_phase() {
        let start = Instant::now();
        let mut loss_account = LossAccount::new(start, 1000);
        assert_eq!(loss_account.early_base_loss(), None);
        loss_account.on_ack(start + RTT, start, 900_000);
        loss_account.on_loss(start, 100_000, false);
        let round = loss_account.end_round();
        loss_account.add_startup_round(round);
        assert_eq!(loss_account.early_base_loss(), Some(0.1));
        epoch(&mut loss_account, start + RTT * 2, EpochKind::ProbeDown, 0);
        loss_account.begin_epoch(start + RTT * 4, EpochKind::Other);
        loss_account.update_base_loss(start + RTT * 9, RTT);
        assert_eq!(loss_account.early_base_loss(), Some(0.0));
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
