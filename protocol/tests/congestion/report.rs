//! What a simulation saw, and the figures drawn from it.
//!
//! Rates are those of IP packets with data that is new: 1 is a full link, and a body gets about 95 % of it.

use crate::link::Cause;
use crate::simulation::Simulation;
use crate::{Time, WIRE, ms, secs};
use docxy_protocol::congestion::Measured;
use std::ops::Range;
use std::time::Duration;

/// The grain of rates.
const GRAIN: Duration = ms(10);

/// What counts as full.
const FULL: f64 = 0.9;

/// A moment of the first flow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at: Time,
    pub(crate) measured: Measured,
    pub(crate) in_flight: u64,
    pub(crate) queue: Duration,
    /// Bytes that were found lost so far.
    pub(crate) lost: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// For messages: which run this was.
    pub(crate) run: String,
    link_rate: f64,
    rtt: Duration,
    lasting: Duration,
    /// New packets of each flow by `GRAIN`.
    delivered: Vec<Vec<u32>>,
    first_delivery: Option<Time>,
    /// Of the first flow alone, like all that follows.
    sent: Vec<u32>,
    dropped: Vec<(Time, Cause)>,
    /// Delivered twice.
    pub(crate) repeated: u64,
    /// How long each packet of any flow waited in the queue, and when it left it.
    waits: Vec<(Time, Duration)>,
    pub(crate) trace: Vec<Sample>,
}

impl Report {
    pub(crate) fn new(simulation: &Simulation, flows: usize) -> Self {
        let grains = grain(simulation.lasting) + 1;
        Self {
            run: format!("{}, seed {}", simulation.name, simulation.seed),
            link_rate: simulation.link.rate as f64,
            rtt: simulation.link.rtt,
            lasting: simulation.lasting,
            delivered: vec![vec![0; grains]; flows],
            first_delivery: None,
            sent: vec![0; grains],
            dropped: Vec::new(),
            repeated: 0,
            waits: Vec::new(),
            trace: Vec::new(),
        }
    }

    pub(crate) fn sent(&mut self, now: Time, flow: usize) {
        if flow == 0 {
            self.sent[grain(now)] += 1;
        }
    }

    pub(crate) fn delivered(&mut self, now: Time, flow: usize, new: bool) {
        if new {
            self.delivered[flow][grain(now)] += 1;
        } else if flow == 0 {
            self.repeated += 1;
        }
        if flow == 0 {
            self.first_delivery.get_or_insert(now);
        }
    }

    pub(crate) fn dropped(&mut self, now: Time, flow: usize, cause: Cause) {
        if flow == 0 {
            self.dropped.push((now, cause));
        }
    }

    pub(crate) fn waited(&mut self, now: Time, waits: &mut Vec<Duration>) {
        self.waits.extend(waits.drain(..).map(|wait| (now, wait)));
    }

    /// Bits a second that the first flow delivered.
    pub(crate) fn rate(&self, during: Range<Time>) -> f64 {
        self.rate_of(0, during)
    }

    /// The same of any flow.
    fn rate_of(&self, flow: usize, during: Range<Time>) -> f64 {
        let packets: u32 = self.delivered[flow][grains(&during)].iter().sum();
        f64::from(packets) * WIRE as f64 * 8.0 / (during.end - during.start).as_secs_f64()
    }

    /// Of what the link could do when the simulation began.
    pub(crate) fn share(&self, during: Range<Time>) -> f64 {
        self.share_of(0, during)
    }

    /// The same of any flow.
    pub(crate) fn share_of(&self, flow: usize, during: Range<Time>) -> f64 {
        self.rate_of(flow, during) / self.link_rate
    }

    /// The first 12 s, handshake included.
    pub(crate) fn cold(&self) -> f64 {
        self.share(Time::ZERO..secs(12))
    }

    /// What comes after 4 s.
    pub(crate) fn steady(&self) -> f64 {
        self.share(secs(4)..self.lasting)
    }

    /// Share of the packets sent that was lost, for whichever of these reasons.
    pub(crate) fn lost(&self, during: Range<Time>, causes: &[Cause]) -> f64 {
        let sent: u32 = self.sent[grains(&during)].iter().sum();
        self.drops(during, causes) as f64 / f64::from(sent.max(1))
    }

    /// Packets lost for any of these reasons.
    pub(crate) fn drops(&self, during: Range<Time>, causes: &[Cause]) -> usize {
        self.dropped.iter().filter(|(at, cause)| during.contains(at) && causes.contains(cause)).count()
    }

    /// What so large a part of the packets waited for at most: 0.95, 1.
    pub(crate) fn queue_delay(&self, during: Range<Time>, part: f64) -> Duration {
        let mut waits: Vec<_> =
            self.waits.iter().filter(|(at, _)| during.contains(at)).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        let rank = ((waits.len() as f64 * part) as usize).min(waits.len().saturating_sub(1));
        waits.get(rank).copied().unwrap_or_default()
    }

    /// From the first byte that could have been sent until 200 ms are full.
    pub(crate) fn filled(&self) -> Option<Duration> {
        // The handshake's packet is the first to arrive; bulk begins with its acknowledgement.
        let began = self.first_delivery? + self.rtt / 2;
        Some(self.reached(began, ms(200), self.link_rate)?.saturating_sub(began))
    }

    /// From an event until one round trip, 200 ms at least, is full at this rate (bits a second).
    pub(crate) fn recovered(&self, event: Time, rtt: Duration, rate: f64) -> Option<Duration> {
        Some(self.reached(event, rtt.max(ms(200)), rate)? - event)
    }

    /// From an event until no packet waits longer than this any more.
    pub(crate) fn settled(&self, event: Time, limit: Duration) -> Duration {
        let late = self.waits.iter().rev().find(|(_, wait)| *wait > limit);
        late.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(event))
    }

    /// The share of the least second.
    pub(crate) fn worst_second(&self, during: Range<Time>) -> f64 {
        let starts = (grain(during.start)..).map(|n| GRAIN * n as u32);
        starts
            .take_while(|start| *start + secs(1) <= during.end)
            .map(|start| self.share(start..start + secs(1)))
            .fold(f64::INFINITY, f64::min)
    }

    /// The end of the first such window after a time with so much in it.
    fn reached(&self, after: Time, window: Duration, rate: f64) -> Option<Time> {
        (grain(after)..)
            .map(|n| GRAIN * n as u32)
            .take_while(|start| *start + window <= self.lasting)
            .find(|start| self.rate(*start..*start + window) >= FULL * rate)
            .map(|start| start + window)
    }
}

fn grain(time: Time) -> usize {
    (time.as_nanos() / GRAIN.as_nanos()) as usize
}

fn grains(during: &Range<Time>) -> Range<usize> {
    grain(during.start)..grain(during.end)
}
