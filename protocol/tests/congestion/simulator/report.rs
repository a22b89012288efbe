//! What a simulation recorded, and the figures computed from it.
//!
//! Rates are those of IP packets with new data. A utilization of 1 is a full link; the body of a response
//! gets about 95 % of that.

use crate::simulator::link::DropCause;
use crate::simulator::simulation::Simulation;
use crate::{PACKET_BYTES, Time, ms, secs};
use docxy_protocol::congestion::Measured;
use std::ops::Range;
use std::time::Duration;

/// Time resolution of rates.
const BIN_WIDTH: Duration = ms(10);

/// Share of a rate that counts as full.
const FULL_UTILIZATION: f64 = 0.9;

/// State of the first flow at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TracePoint {
    pub(crate) at: Time,
    pub(crate) measured: Measured,
    pub(crate) in_flight: u64,
    pub(crate) queue_delay: Duration,
    /// Bytes declared lost so far.
    pub(crate) lost_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// Name and seed of the simulation, for messages.
    pub(crate) label: String,
    link_rate: f64,
    rtt: Duration,
    duration: Duration,
    /// New packets of each flow, in bins of [`BIN_WIDTH`].
    delivered: Vec<Vec<u32>>,
    first_delivery: Option<Time>,
    /// Packets sent, in bins. This and all other fields are of the first flow alone.
    sent: Vec<u32>,
    dropped: Vec<(Time, DropCause)>,
    /// Packets whose data had already arrived.
    pub(crate) duplicates: u64,
    /// Queue delay of each packet of any flow, and when it left the queue.
    queue_delays: Vec<(Time, Duration)>,
    pub(crate) trace: Vec<TracePoint>,
}

impl Report {
    pub(crate) fn new(simulation: &Simulation, flows: usize) -> Self {
        let bins = bin(simulation.duration) + 1;
        Self {
            label: format!("{}, seed {}", simulation.name, simulation.seed),
            link_rate: simulation.link.rate as f64,
            rtt: simulation.link.rtt,
            duration: simulation.duration,
            delivered: vec![vec![0; bins]; flows],
            first_delivery: None,
            sent: vec![0; bins],
            dropped: Vec::new(),
            duplicates: 0,
            queue_delays: Vec::new(),
            trace: Vec::new(),
        }
    }

    pub(crate) fn sent(&mut self, now: Time, flow: usize) {
        if flow == 0 {
            self.sent[bin(now)] += 1;
        }
    }

    pub(crate) fn delivered(&mut self, now: Time, flow: usize, new: bool) {
        if new {
            self.delivered[flow][bin(now)] += 1;
        } else if flow == 0 {
            self.duplicates += 1;
        }
        if flow == 0 {
            self.first_delivery.get_or_insert(now);
        }
    }

    pub(crate) fn dropped(&mut self, now: Time, flow: usize, cause: DropCause) {
        if flow == 0 {
            self.dropped.push((now, cause));
        }
    }

    pub(crate) fn dequeued(&mut self, now: Time, queue_delays: &mut Vec<Duration>) {
        self.queue_delays.extend(queue_delays.drain(..).map(|delay| (now, delay)));
    }

    /// Rate of the first flow in bits per second.
    pub(crate) fn rate(&self, period: Range<Time>) -> f64 {
        self.rate_of(0, period)
    }

    /// Rate of any flow in bits per second.
    fn rate_of(&self, flow: usize, period: Range<Time>) -> f64 {
        let packets: u32 = self.delivered[flow][bins(&period)].iter().sum();
        f64::from(packets) * PACKET_BYTES as f64 * 8.0 / (period.end - period.start).as_secs_f64()
    }

    /// Rate of the first flow ÷ the link's rate at the start of the simulation.
    pub(crate) fn utilization(&self, period: Range<Time>) -> f64 {
        self.utilization_of(0, period)
    }

    /// The same of any flow.
    pub(crate) fn utilization_of(&self, flow: usize, period: Range<Time>) -> f64 {
        self.rate_of(flow, period) / self.link_rate
    }

    /// Utilization in the first 12 s, handshake included.
    pub(crate) fn cold(&self) -> f64 {
        self.utilization(Time::ZERO..secs(12))
    }

    /// Utilization after 4 s.
    pub(crate) fn steady(&self) -> f64 {
        self.utilization(secs(4)..self.duration)
    }

    /// Share of the sent packets that were lost for these causes.
    pub(crate) fn loss_rate(&self, period: Range<Time>, causes: &[DropCause]) -> f64 {
        let sent: u32 = self.sent[bins(&period)].iter().sum();
        self.drop_count(period, causes) as f64 / f64::from(sent.max(1))
    }

    /// Packets lost for these causes.
    pub(crate) fn drop_count(&self, period: Range<Time>, causes: &[DropCause]) -> usize {
        self.dropped.iter().filter(|(at, cause)| period.contains(at) && causes.contains(cause)).count()
    }

    /// Quantile of the queue delay: 0.95, 1.
    pub(crate) fn queue_delay(&self, period: Range<Time>, quantile: f64) -> Duration {
        let mut queue_delays: Vec<_> =
            self.queue_delays.iter().filter(|(at, _)| period.contains(at)).map(|(_, delay)| *delay).collect();
        queue_delays.sort_unstable();
        let rank =
            ((queue_delays.len() as f64 * quantile) as usize).min(queue_delays.len().saturating_sub(1));
        queue_delays.get(rank).copied().unwrap_or_default()
    }

    /// From the first byte that could be sent until the link is full for 200 ms.
    pub(crate) fn time_to_fill(&self) -> Option<Duration> {
        // The handshake's packet arrives first; bulk begins with its acknowledgement.
        let start = self.first_delivery? + self.rtt / 2;
        Some(self.end_of_full_period(start, ms(200), self.link_rate)?.saturating_sub(start))
    }

    /// From an event until the rate (bits per second) is full for one round trip, at least 200 ms.
    pub(crate) fn time_to_recover(&self, event: Time, rtt: Duration, rate: f64) -> Option<Duration> {
        Some(self.end_of_full_period(event, rtt.max(ms(200)), rate)? - event)
    }

    /// From an event until no packet's queue delay exceeds `limit` any more.
    pub(crate) fn time_to_settle(&self, event: Time, limit: Duration) -> Duration {
        let last = self.queue_delays.iter().rev().find(|(_, delay)| *delay > limit);
        last.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(event))
    }

    /// Lowest utilization in one second.
    pub(crate) fn worst_second(&self, period: Range<Time>) -> f64 {
        let starts = (bin(period.start)..).map(|n| BIN_WIDTH * n as u32);
        starts
            .take_while(|start| *start + secs(1) <= period.end)
            .map(|start| self.utilization(start..start + secs(1)))
            .fold(f64::INFINITY, f64::min)
    }

    /// The end of the first period of `length` after `after` with this rate.
    fn end_of_full_period(&self, after: Time, length: Duration, rate: f64) -> Option<Time> {
        (bin(after)..)
            .map(|n| BIN_WIDTH * n as u32)
            .take_while(|start| *start + length <= self.duration)
            .find(|start| self.rate(*start..*start + length) >= FULL_UTILIZATION * rate)
            .map(|start| start + length)
    }
}

fn bin(time: Time) -> usize {
    (time.as_nanos() / BIN_WIDTH.as_nanos()) as usize
}

fn bins(period: &Range<Time>) -> Range<usize> {
    bin(period.start)..bin(period.end)
}
