//! What a scenario is, and what all scenarios share: starting the subject, and common metrics.
//! Must never know any single scenario.

use anyhow::Result;
use docxy_tests::{
    statistics::{median, percentile},
    wan::{Counters, Link, LinkPreset, Wan},
};

use super::{metric::Metric, results::Outcome};
use crate::{
    peer::TransferPlan,
    subject::{Measurement, Role, RunningSubject, Subject},
    topology::Topology,
};

/// The duration of the cold phase.
pub(super) const COLD_SECONDS: f64 = 12.0;

/// When a transfer is steady, in seconds from the request.
pub(super) const STEADY_AFTER_SECONDS: f64 = 4.0;

/// Seconds between small requests.
const PROBE_INTERVAL_SECONDS: f64 = 0.25;

/// Something that happens on a link during a bulk transfer.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What happens, for tables and help.
    pub(super) description: &'static str,
    /// The links if none is named.
    pub(super) links: &'static [LinkPreset],
    pub(super) run: fn(&ScenarioContext<'_>) -> Result<Outcome>,
}

/// The context of a scenario's run. The link is new, and no process uses it yet.
pub(super) struct ScenarioContext<'a> {
    pub(super) topology: Topology<'a>,
    pub(super) wan: &'a Wan,
    /// The link at the start.
    pub(super) link: Link,
    pub(super) subject: &'a dyn Subject,
    pub(super) seconds: f64,
}

impl ScenarioContext<'_> {
    /// Starts the subject's processes.
    pub(super) fn start(&self) -> Result<RunningSubject> {
        self.subject.start(&self.topology)
    }

    /// The default plan of a reader.
    pub(super) fn plan(&self) -> TransferPlan {
        TransferPlan { small_every: PROBE_INTERVAL_SECONDS, ..TransferPlan::seconds(self.seconds) }
    }

    /// The link's counters of the packets from the server.
    pub(super) fn counters(&self) -> Result<Counters> {
        Ok(self.wan.report()?.right_to_left.counters)
    }

    /// The share of the bytes sent since `before` that the link has dropped.
    pub(super) fn lost_since(&self, before: Counters) -> Result<f64> {
        let now = self.counters()?;
        let dropped = now.dropped.total() - before.dropped.total();
        Ok(dropped.bytes as f64 / (now.offered - before.offered).bytes as f64)
    }

    /// Bits per second as a share of the link's rate at the start.
    pub(super) fn share(&self, bits_per_second: f64) -> f64 {
        let rate = self.link.right_to_left.rate.map_or(f64::NAN, |rate| rate.bits_per_second() as f64);
        bits_per_second / rate
    }

    /// The goodput of the cold phase.
    pub(super) fn cold(&self, measured: &Measurement) -> f64 {
        measured.report.goodput(0.0, COLD_SECONDS.min(self.seconds))
    }

    /// The duration of small requests beside the bulk, in round trips.
    pub(super) fn small(&self, measured: &Measurement) -> [Metric; 2] {
        let rtt = self.link.rtt().as_secs_f64();
        let round_trips = || measured.report.small.iter().map(|seconds| seconds / rtt);
        [
            Metric::new("small", median(round_trips()), 2),
            Metric::new("p90", percentile(round_trips(), 0.9), 2),
        ]
    }
}

/// Processor time and memory of the link's two ends.
pub(super) fn cost(measured: &Measurement) -> [Metric; 4] {
    [
        Metric::new("CPU server", measured.cpu_per_gb(Role::Server), 1),
        Metric::new("client", measured.cpu_per_gb(Role::Client), 1),
        Metric::new("RSS server", measured.rss_mib(Role::Server), 0),
        Metric::new("RSS client", measured.rss_mib(Role::Client), 0),
    ]
}
