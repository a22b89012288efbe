//! The sending end as quinn-proto 0.11.19 has it (`connection/mod.rs`): when packets leave, what is
//! told to the congestion control and in which order, how loss is found, when it probes.

use crate::pacer::{self, Pacer};
use crate::receiver::Ack;
use crate::rtt::Rtt;
use crate::source::Source;
use crate::{MTU, Time, ms};
use docxy_protocol::congestion::{Algorithm, Auto, Fixed};
use docxy_protocol::limits::ACK_THRESHOLD;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// quinn's `MAX_TRANSMIT_SEGMENTS`: packets that leave as one.
const BATCH: u64 = 10;

/// As in `transport.rs`.
const INITIAL_RTT: Duration = ms(100);

/// quinn's `persistent_congestion_threshold`.
const PERSISTENT: u32 = 3;

/// tokio's timers fire on whole milliseconds, never early.
const TICK: u128 = 1_000_000;

/// What controls a sender: as with quinn, the window also sets the pace, unless it has one of its own.
pub(crate) trait Control: Algorithm {
    /// In bytes per second.
    fn pace(&self) -> Option<f64> {
        None
    }

    fn manner(&self) -> Manner {
        QUIC
    }
}

/// What differs between transports.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// One packet more than these is acknowledged at once.
    pub(crate) ack_threshold: u32,
    /// So many packets later one that is missed counts as lost.
    pub(crate) packet_threshold: u64,
}

/// As in `transport.rs`.
const QUIC: Manner = Manner { ack_threshold: ACK_THRESHOLD, packet_threshold: 128 };

/// As Linux has it: every second packet, three duplicates.
pub(crate) const TCP: Manner = Manner { ack_threshold: 1, packet_threshold: 3 };

impl Control for Auto {}
impl Control for Fixed {}

/// A full packet on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) flow: usize,
    pub(crate) number: u64,
    /// Which piece of the data it carries.
    pub(crate) piece: u64,
    /// quinn's probes ask for it.
    pub(crate) ack_at_once: bool,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Time,
    piece: u64,
}

pub(crate) struct Sender {
    flow: usize,
    epoch: Instant,
    pub(crate) algorithm: Box<dyn Control>,
    source: Source,
    pacer: Pacer,
    rtt: Rtt,
    /// What is on its way, from packet number `first` on; none where it has arrived or is lost.
    sent: VecDeque<Option<Sent>>,
    first: u64,
    last_sent: Time,
    pub(crate) in_flight: u64,
    /// Pieces of the data so far, and those to be sent again.
    pieces: u64,
    again: VecDeque<u64>,
    /// How many arrivals are known of, and the newest one's packet number and time of sending.
    arrived: usize,
    newest_acked: Option<(u64, Time)>,
    /// The first packet number after the first sample of the round trip.
    sampled: Option<u64>,
    app_limited: bool,
    probes: u32,
    probe_timeouts: u32,
    /// When the next packet counts as lost.
    loss_time: Option<Time>,
    /// When something is to be done without an acknowledgement.
    pub(crate) deadline: Time,
    /// Found lost, rightly or not.
    pub(crate) lost: u64,
}

impl Sender {
    pub(crate) fn new(flow: usize, epoch: Instant, algorithm: Box<dyn Control>, source: Source) -> Self {
        Self {
            flow,
            epoch,
            pacer: Pacer::new(INITIAL_RTT, algorithm.window()),
            algorithm,
            source,
            rtt: Rtt::new(INITIAL_RTT),
            sent: VecDeque::new(),
            first: 0,
            last_sent: Time::ZERO,
            in_flight: 0,
            pieces: 0,
            again: VecDeque::new(),
            arrived: 0,
            newest_acked: None,
            sampled: None,
            app_limited: false,
            probes: 0,
            probe_timeouts: 0,
            loss_time: None,
            deadline: Time::ZERO,
            lost: 0,
        }
    }

    /// Sends what may be sent (quinn's `poll_transmit`, until it has nothing).
    pub(crate) fn poll(&mut self, now: Time, mut send: impl FnMut(Packet)) {
        let mut paced = None;
        loop {
            let (mut batch, mut blocked) = (0, false);
            while batch < BATCH && (self.probes > 0 || self.has_data(now)) {
                if self.probes == 0 {
                    let window = self.algorithm.window();
                    blocked = self.in_flight + MTU >= window;
                    if !blocked {
                        let window = self
                            .algorithm
                            .pace()
                            .map_or(window, |pace| pacer::window(pace, self.rtt.smoothed()));
                        paced = self.pacer.delay(now, self.rtt.smoothed(), window);
                        blocked = paced.is_some();
                    }
                    if blocked {
                        break;
                    }
                }
                send(self.transmit(now));
                batch += 1;
            }
            if batch == 0 {
                self.app_limited = !blocked;
                break;
            }
            self.algorithm.on_sent(self.epoch + now, batch * MTU);
        }
        let more = if self.app_limited { self.source.wakes(now) } else { Time::MAX };
        let timer = self.loss_timer().into_iter().chain(paced).min().map_or(Time::MAX, on_a_tick);
        self.deadline = timer.min(more);
    }

    /// An acknowledgement came (`on_ack_received`). `arrivals` are all packet numbers, as they came.
    pub(crate) fn on_ack(&mut self, now: Time, ack: Ack, arrivals: &[u64]) {
        if ack.arrived <= self.arrived {
            return;
        }
        let news = &arrivals[self.arrived..ack.arrived];
        self.arrived = ack.arrived;
        let newest = news[news.len() - 1];
        let newest_sent = self.sent(newest).map(|sent| sent.at);
        let mut any = false;
        for number in news {
            if let Some(sent) = self.forget(*number) {
                any = true;
                self.algorithm.on_ack(self.epoch + now, self.epoch + sent.at, MTU);
            }
        }
        let known = self.newest_acked.map_or(Time::ZERO, |(_, sent)| sent);
        self.newest_acked = Some((newest, newest_sent.unwrap_or(known)));
        if !any {
            return;
        }
        self.algorithm.on_end_acks(self.epoch + now, self.in_flight, self.app_limited);
        self.rtt.update(now, newest_sent.unwrap_or(known), ack.delay);
        self.sampled.get_or_insert(self.first + self.sent.len() as u64);
        self.detect_lost(now, true);
        self.probe_timeouts = 0;
    }

    /// The deadline came (`on_loss_detection_timeout`; pacing and data need no more than a poll).
    pub(crate) fn on_deadline(&mut self, now: Time) {
        match self.loss_timer() {
            Some(timer) if on_a_tick(timer) <= now => {}
            _ => return,
        }
        if self.loss_time.is_some() {
            self.detect_lost(now, false);
        } else {
            self.probes += 2;
            self.probe_timeouts += 1;
        }
    }

    /// The first packet stands for the handshake; the rest waits for its acknowledgement.
    fn has_data(&mut self, now: Time) -> bool {
        if self.newest_acked.is_none() {
            return self.pieces == 0;
        }
        !self.again.is_empty() || self.source.has(now)
    }

    fn transmit(&mut self, now: Time) -> Packet {
        let probe = self.probes > 0;
        self.probes = self.probes.saturating_sub(1);
        let piece = if let Some(piece) = self.again.pop_front() {
            piece
        } else if self.has_data(now) {
            if self.pieces > 0 {
                self.source.take();
            }
            self.pieces += 1;
            self.pieces - 1
        } else {
            // A probe without data repeats the oldest.
            self.sent.iter().flatten().next().map_or(0, |sent| sent.piece)
        };
        let number = self.first + self.sent.len() as u64;
        self.sent.push_back(Some(Sent { at: now, piece }));
        self.last_sent = now;
        self.in_flight += MTU;
        self.pacer.on_transmit();
        Packet { flow: self.flow, number, piece, ack_at_once: probe || piece == 0 }
    }

    fn detect_lost(&mut self, now: Time, by_ack: bool) {
        let Some((newest, _)) = self.newest_acked else { return };
        let delay = self.rtt.loss_delay();
        let congestion_period = self.rtt.probe_timeout() * PERSISTENT;
        self.loss_time = None;
        let (mut bytes, mut newest_lost, mut persistent) = (0, Time::ZERO, false);
        // When the first of a run of lost packets had left, all of which count for persistent congestion.
        let mut run = None;
        for number in self.first..newest {
            let Some(sent) = self.sent(number) else {
                run = None;
                continue;
            };
            // Both thresholds hold for all older ones as well.
            if now - sent.at < delay && newest < number + self.algorithm.manner().packet_threshold {
                self.loss_time = Some(sent.at + delay);
                break;
            }
            match run {
                Some(start) => persistent |= by_ack && sent.at - start > congestion_period,
                None if self.sampled.is_some_and(|sampled| number > sampled) => run = Some(sent.at),
                None => {}
            }
            self.again.push_back(sent.piece);
            bytes += MTU;
            newest_lost = sent.at;
            let index = (number - self.first) as usize;
            self.sent[index] = None;
        }
        self.in_flight -= bytes;
        self.lost += bytes;
        self.trim();
        if bytes > 0 {
            self.algorithm.on_loss(self.epoch + now, self.epoch + newest_lost, bytes, persistent);
        }
    }

    fn loss_timer(&self) -> Option<Time> {
        let backoff = 1 << self.probe_timeouts.min(16);
        let probe = || (self.in_flight > 0).then(|| self.last_sent + self.rtt.probe_timeout() * backoff);
        self.loss_time.or_else(probe)
    }

    fn sent(&self, number: u64) -> Option<Sent> {
        *self.sent.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?
    }

    fn forget(&mut self, number: u64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(index)?.take()?;
        self.in_flight -= MTU;
        self.trim();
        Some(sent)
    }

    fn trim(&mut self) {
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
    }
}

fn on_a_tick(time: Time) -> Time {
    Duration::from_nanos_u128(time.as_nanos().div_ceil(TICK) * TICK)
}
