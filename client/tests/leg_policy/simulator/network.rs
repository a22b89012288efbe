//! What the network does on each way.

use crate::Time;
use docxy_client::tunnel::leg::Way;
use std::time::Duration;

/// The network at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// Mbit/s of the path.
    pub(crate) capacity: f64,
    pub(crate) rtt: Duration,
    pub(crate) quic: Treatment,
    pub(crate) tcp: Treatment,
    pub(crate) proxy: Treatment,
}

/// What it does to the sessions on one way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Treatment {
    pub(crate) handshake: Handshake,
    /// Mbit/s that pass, at most: a policer, or what the congestion control makes of the loss.
    pub(crate) rate: f64,
    /// Each session receives so much, and then nothing.
    pub(crate) stops_after: Option<u64>,
    /// The part that is lost since too much is sent.
    pub(crate) loss: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Handshake {
    Passes,
    /// So late.
    Delayed(Duration),
    Dropped,
    /// It is answered with an error.
    Rejected,
}

pub(crate) const GOOD: Treatment =
    Treatment { handshake: Handshake::Passes, rate: f64::INFINITY, stops_after: None, loss: 0.0 };

pub(crate) const BLOCKED: Treatment = Treatment { handshake: Handshake::Dropped, rate: 0.0, ..GOOD };

pub(crate) const REJECTED: Treatment = Treatment { handshake: Handshake::Rejected, ..BLOCKED };

pub(crate) const POLICED: Treatment = Treatment { rate: 18.0, loss: 0.1, ..GOOD };

/// One-way loss after 64 KiB.
pub(crate) const STOPS_EARLY: Treatment = Treatment { stops_after: Some(64 * 1024), ..GOOD };

/// TCP that freezes after 16 KB.
pub(crate) const FREEZES: Treatment = Treatment { stops_after: Some(16 * 1000), ..GOOD };

pub(crate) const CLEAN: Network =
    Network { capacity: 96.0, rtt: Duration::from_millis(200), quic: GOOD, tcp: GOOD, proxy: BLOCKED };

impl Network {
    pub(crate) const fn treatment(&self, way: Way) -> &Treatment {
        match way {
            Way::Quic => &self.quic,
            Way::Tcp => &self.tcp,
            Way::Proxy => &self.proxy,
        }
    }

    pub(crate) const fn with(quic: Treatment, tcp: Treatment) -> Self {
        Self { quic, tcp, ..CLEAN }
    }

    /// Mbit/s that bulk can get on the best way.
    pub(crate) fn best(&self) -> f64 {
        [self.quic, self.tcp, self.proxy].iter().map(|way| way.goodput(self.capacity)).fold(0.0, f64::max)
    }
}

impl Treatment {
    fn goodput(&self, capacity: f64) -> f64 {
        match (self.handshake, self.stops_after) {
            (Handshake::Passes | Handshake::Delayed(_), None) => self.rate.min(capacity),
            _ => 0.0,
        }
    }

    /// The time of a dial until the Welcome, or until its failure.
    pub(crate) fn dial(&self, way: Way, rtt: Duration) -> (Duration, bool) {
        let round_trips = match way {
            Way::Quic => 2,
            Way::Tcp => 3,
            Way::Proxy => 4,
        };
        match self.handshake {
            Handshake::Passes => (rtt * round_trips, true),
            Handshake::Delayed(delay) => (rtt * round_trips + delay, true),
            Handshake::Rejected => (rtt, false),
            Handshake::Dropped => (Duration::from_millis(2500), false),
        }
    }
}

/// The network over time: its changes, the first at the start.
#[derive(Debug, Clone)]
pub(crate) struct Timeline(pub(crate) Vec<(Time, Network)>);

impl Timeline {
    pub(crate) fn at(&self, now: Time) -> &Network {
        let next = self.0.partition_point(|(at, _)| *at <= now);
        &self.0[next.max(1) - 1].1
    }

    /// When the network changed last.
    pub(crate) fn last_change(&self, now: Time) -> Time {
        let next = self.0.partition_point(|(at, _)| *at <= now);
        self.0[next.max(1) - 1].0
    }
}
