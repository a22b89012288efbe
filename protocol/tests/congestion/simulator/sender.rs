//! The sender, as in quinn-proto 0.11.19 (`connection/mod.rs`): when it sends packets, the order in which it
//! reports events to the congestion control, how it detects loss, and when it probes.

use crate::simulator::pacer::{self, Pacer};
use crate::simulator::receiver::Ack;
use crate::simulator::rtt_estimator::RttEstimator;
use crate::simulator::traffic_source::TrafficSource;
use crate::{MTU, Time, ms};
use docxy_protocol::congestion::{Algorithm, Auto, Fixed};
use docxy_protocol::limits::ACK_THRESHOLD;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// quinn's `MAX_TRANSMIT_SEGMENTS`: packets sent in one call.
const PACKETS_PER_TRANSMIT: u64 = 10;

/// As in `protocol/transport/src/quic/settings.rs`.
const INITIAL_RTT: Duration = ms(100);

/// quinn's `persistent_congestion_threshold`.
const PERSISTENT_CONGESTION_THRESHOLD: u32 = 3;

/// tokio's timers fire on whole milliseconds, never early.
const TIMER_TICK_NANOS: u128 = 1_000_000;

/// The congestion control of a sender. The window also sets the pacing rate, as in quinn, unless
/// [`Controller::pacing_rate`] returns one.
pub(crate) trait Controller: Algorithm {
    /// In bytes per second.
    fn pacing_rate(&self) -> Option<f64> {
        None
    }

    fn transport(&self) -> TransportProfile {
        QUIC
    }
}

/// Differences between transports.
#[derive(Clone, Copy)]
pub(crate) struct TransportProfile {
    /// Packets that may be unacknowledged; one more triggers an immediate acknowledgement.
    pub(crate) ack_threshold: u32,
    /// Packets acknowledged after a missing one that make it count as lost.
    pub(crate) packet_threshold: u64,
}

/// As in `protocol/transport/src/quic/settings.rs`.
const QUIC: TransportProfile = TransportProfile { ack_threshold: ACK_THRESHOLD, packet_threshold: 128 };

/// As in Linux: acknowledges every second packet, and three duplicates indicate loss.
pub(crate) const TCP: TransportProfile = TransportProfile { ack_threshold: 1, packet_threshold: 3 };

impl Controller for Auto {}
impl Controller for Fixed {}

/// A full packet in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) flow: usize,
    pub(crate) number: u64,
    /// Number of the data chunk that it carries.
    pub(crate) chunk: u64,
    /// quinn's probes request an immediate acknowledgement.
    pub(crate) immediate_ack: bool,
}

#[derive(Clone, Copy)]
struct SentPacket {
    time_sent: Time,
    chunk: u64,
}

pub(crate) struct Sender {
    flow: usize,
    epoch: Instant,
    pub(crate) controller: Box<dyn Controller>,
    source: TrafficSource,
    pacer: Pacer,
    rtt: RttEstimator,
    /// Packets in flight, from packet number `first_number` on; `None` if acknowledged or declared lost.
    sent_packets: VecDeque<Option<SentPacket>>,
    first_number: u64,
    last_sent: Time,
    pub(crate) in_flight: u64,
    /// Next chunk of the data, and chunks to send again.
    next_chunk: u64,
    retransmissions: VecDeque<u64>,
    /// Number of arrivals that are acknowledged, and packet number and send time of the largest acknowledged
    /// one.
    arrived_count: usize,
    largest_acked: Option<(u64, Time)>,
    /// First packet number after the first RTT sample.
    first_rtt_number: Option<u64>,
    app_limited: bool,
    probes_due: u32,
    pto_count: u32,
    /// When the next packet counts as lost.
    loss_time: Option<Time>,
    /// When to act without an acknowledgement.
    pub(crate) deadline: Time,
    /// Bytes declared lost, rightly or not.
    pub(crate) lost_bytes: u64,
}

impl Sender {
    pub(crate) fn new(
        flow: usize,
        epoch: Instant,
        controller: Box<dyn Controller>,
        source: TrafficSource,
    ) -> Self {
        Self {
            flow,
            epoch,
            pacer: Pacer::new(INITIAL_RTT, controller.window()),
            controller,
            source,
            rtt: RttEstimator::new(INITIAL_RTT),
            sent_packets: VecDeque::new(),
            first_number: 0,
            last_sent: Time::ZERO,
            in_flight: 0,
            next_chunk: 0,
            retransmissions: VecDeque::new(),
            arrived_count: 0,
            largest_acked: None,
            first_rtt_number: None,
            app_limited: false,
            probes_due: 0,
            pto_count: 0,
            loss_time: None,
            deadline: Time::ZERO,
            lost_bytes: 0,
        }
    }

    /// Sends all packets that may be sent now (quinn's `poll_transmit`, until it returns none).
    pub(crate) fn poll_transmit(&mut self, now: Time, mut send: impl FnMut(Packet)) {
        let mut paced = None;
        loop {
            let (mut batch, mut blocked) = (0, false);
            while batch < PACKETS_PER_TRANSMIT && (self.probes_due > 0 || self.has_data(now)) {
                if self.probes_due == 0 {
                    let window = self.controller.window();
                    blocked = self.in_flight + MTU >= window;
                    if !blocked {
                        let window = self
                            .controller
                            .pacing_rate()
                            .map_or(window, |rate| pacer::window_for_rate(rate, self.rtt.smoothed()));
                        paced = self.pacer.delay(now, self.rtt.smoothed(), window);
                        blocked = paced.is_some();
                    }
                    if blocked {
                        break;
                    }
                }
                send(self.next_packet(now));
                batch += 1;
            }
            if batch == 0 {
                self.app_limited = !blocked;
                break;
            }
            self.controller.on_sent(self.epoch + now, batch * MTU);
        }
        let wakeup = if self.app_limited { self.source.next_wakeup(now) } else { Time::MAX };
        let timer =
            self.loss_detection_timer().into_iter().chain(paced).min().map_or(Time::MAX, round_up_to_tick);
        self.deadline = timer.min(wakeup);
    }

    /// Handles an acknowledgement (quinn's `on_ack_received`). `arrivals`: all packet numbers in order of
    /// arrival.
    pub(crate) fn on_ack(&mut self, now: Time, ack: Ack, arrivals: &[u64]) {
        if ack.arrived_count <= self.arrived_count {
            return;
        }
        let newly_arrived = &arrivals[self.arrived_count..ack.arrived_count];
        self.arrived_count = ack.arrived_count;
        let largest = newly_arrived[newly_arrived.len() - 1];
        let largest_sent_time = self.sent_packet(largest).map(|sent| sent.time_sent);
        let mut newly_acked = false;
        for number in newly_arrived {
            if let Some(sent) = self.remove(*number) {
                newly_acked = true;
                self.controller.on_ack(self.epoch + now, self.epoch + sent.time_sent, MTU);
            }
        }
        let previous_sent_time = self.largest_acked.map_or(Time::ZERO, |(_, sent)| sent);
        self.largest_acked = Some((largest, largest_sent_time.unwrap_or(previous_sent_time)));
        if !newly_acked {
            return;
        }
        self.controller.on_end_acks(self.epoch + now, self.in_flight, self.app_limited);
        self.rtt.update(now, largest_sent_time.unwrap_or(previous_sent_time), ack.ack_delay);
        self.first_rtt_number.get_or_insert(self.first_number + self.sent_packets.len() as u64);
        self.detect_lost_packets(now, true);
        self.pto_count = 0;
    }

    /// Handles the deadline (quinn's `on_loss_detection_timeout`; pacing and new data need only
    /// `poll_transmit`).
    pub(crate) fn on_timeout(&mut self, now: Time) {
        match self.loss_detection_timer() {
            Some(timer) if round_up_to_tick(timer) <= now => {}
            _ => return,
        }
        if self.loss_time.is_some() {
            self.detect_lost_packets(now, false);
        } else {
            self.probes_due += 2;
            self.pto_count += 1;
        }
    }

    /// The first packet represents the handshake; all others wait for its acknowledgement.
    fn has_data(&mut self, now: Time) -> bool {
        if self.largest_acked.is_none() {
            return self.next_chunk == 0;
        }
        !self.retransmissions.is_empty() || self.source.has_packet(now)
    }

    fn next_packet(&mut self, now: Time) -> Packet {
        let probe = self.probes_due > 0;
        self.probes_due = self.probes_due.saturating_sub(1);
        let chunk = if let Some(chunk) = self.retransmissions.pop_front() {
            chunk
        } else if self.has_data(now) {
            if self.next_chunk > 0 {
                self.source.take();
            }
            self.next_chunk += 1;
            self.next_chunk - 1
        } else {
            // A probe without new data repeats the oldest packet in flight.
            self.sent_packets.iter().flatten().next().map_or(0, |sent| sent.chunk)
        };
        let number = self.first_number + self.sent_packets.len() as u64;
        self.sent_packets.push_back(Some(SentPacket { time_sent: now, chunk }));
        self.last_sent = now;
        self.in_flight += MTU;
        self.pacer.on_transmit();
        Packet { flow: self.flow, number, chunk, immediate_ack: probe || chunk == 0 }
    }

    fn detect_lost_packets(&mut self, now: Time, by_ack: bool) {
        let Some((largest, _)) = self.largest_acked else { return };
        let delay = self.rtt.loss_delay();
        let congestion_period = self.rtt.probe_timeout() * PERSISTENT_CONGESTION_THRESHOLD;
        self.loss_time = None;
        let (mut bytes, mut newest_lost, mut persistent) = (0, Time::ZERO, false);
        // Send time of the first packet in a run of lost packets, all of which count for persistent
        // congestion.
        let mut run = None;
        for number in self.first_number..largest {
            let Some(sent) = self.sent_packet(number) else {
                run = None;
                continue;
            };
            // If one packet exceeds a threshold, all older ones do.
            if now - sent.time_sent < delay && largest < number + self.controller.transport().packet_threshold
            {
                self.loss_time = Some(sent.time_sent + delay);
                break;
            }
            match run {
                Some(start) => persistent |= by_ack && sent.time_sent - start > congestion_period,
                None if self.first_rtt_number.is_some_and(|first| number > first) => {
                    run = Some(sent.time_sent)
                }
                None => {}
            }
            self.retransmissions.push_back(sent.chunk);
            bytes += MTU;
            newest_lost = sent.time_sent;
            let index = (number - self.first_number) as usize;
            self.sent_packets[index] = None;
        }
        self.in_flight -= bytes;
        self.lost_bytes += bytes;
        self.trim();
        if bytes > 0 {
            self.controller.on_loss(self.epoch + now, self.epoch + newest_lost, bytes, persistent);
        }
    }

    fn loss_detection_timer(&self) -> Option<Time> {
        let backoff = 1 << self.pto_count.min(16);
        let probe = || (self.in_flight > 0).then(|| self.last_sent + self.rtt.probe_timeout() * backoff);
        self.loss_time.or_else(probe)
    }

    fn sent_packet(&self, number: u64) -> Option<SentPacket> {
        *self.sent_packets.get(usize::try_from(number.checked_sub(self.first_number)?).ok()?)?
    }

    fn remove(&mut self, number: u64) -> Option<SentPacket> {
        let index = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        let sent = self.sent_packets.get_mut(index)?.take()?;
        self.in_flight -= MTU;
        self.trim();
        Some(sent)
    }

    fn trim(&mut self) {
        while let Some(None) = self.sent_packets.front() {
            self.sent_packets.pop_front();
            self.first_number += 1;
        }
    }
}

fn round_up_to_tick(time: Time) -> Time {
    Duration::from_nanos_u128(time.as_nanos().div_ceil(TIMER_TICK_NANOS) * TIMER_TICK_NANOS)
}
