//! How Auto shares a bottleneck with TCP BBR, with CUBIC (RFC 9438), and with another Auto.

use crate::bbr::Bbr;
use crate::cubic::Cubic;
use crate::simulator::link::{Conditions, DropCause};
use crate::simulator::report::Report;
use crate::simulator::sender::Controller;
use crate::simulator::simulation::Simulation;
use crate::simulator::traffic_source::Supply;
use crate::{Time, auto, ms, secs};
use std::ops::Range;
use std::time::Instant;

const CONTINENTAL: Conditions = Conditions::clean(100, ms(50));

/// The first flow starts this much earlier.
const HEAD_START: Time = secs(5);

/// The period that the bench measures: 4 s to 20 s after the second flow's start.
pub(crate) const EARLY_PERIOD: Range<Time> = secs(9)..secs(25);

/// The long run.
pub(crate) const LATE_PERIOD: Range<Time> = secs(25)..secs(65);

/// The flow that shares the bottleneck with Auto.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CompetingFlow {
    Bbr,
    /// As measured on real links: overestimates its delivery rate by 8 %.
    OverestimatingBbr,
    Cubic,
    /// Another Auto.
    Auto,
}

/// Which flow starts first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StartOrder {
    CompetitorFirst,
    AutoFirst,
}

impl CompetingFlow {
    pub(crate) const ALL: [Self; 4] = [Self::Bbr, Self::OverestimatingBbr, Self::Cubic, Self::Auto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::OverestimatingBbr => "bbr+8%",
            Self::Cubic => "cubic",
            Self::Auto => "auto",
        }
    }

    fn controller(self, now: Instant) -> Box<dyn Controller> {
        match self {
            Self::Bbr => Box::new(Bbr::new(now)),
            Self::OverestimatingBbr => Box::new(Bbr::overestimating(now)),
            Self::Cubic => Box::new(Cubic::new(now)),
            Self::Auto => Box::new(auto(now)),
        }
    }

    /// Runs Auto as flow 0 and the competing flow as flow 1 on a clean link. The seed shifts the start of the
    /// second flow, since nothing else is random without jitter.
    pub(crate) fn run_beside_auto(self, order: StartOrder, jitter: Time, seed: u64) -> Report {
        const START_SHIFT: Time = ms(37);
        let second = HEAD_START + START_SHIFT * seed as u32;
        let (auto_start, competitor_start) = match order {
            StartOrder::CompetitorFirst => (second, Time::ZERO),
            StartOrder::AutoFirst => (Time::ZERO, second),
        };
        let name = format!("beside {}, {} first", self.name(), order.name());
        let simulation = Simulation::new(&name, Conditions { jitter, ..CONTINENTAL }, seed)
            .traffic(&[(auto_start, Supply::Unlimited)])
            .duration(LATE_PERIOD.end);
        let epoch = Instant::now();
        simulation.run_with_competitors(
            epoch,
            Box::new(auto(epoch)),
            vec![(competitor_start, self.controller(epoch))],
        )
    }
}

impl StartOrder {
    pub(crate) const ALL: [Self; 2] = [Self::CompetitorFirst, Self::AutoFirst];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CompetitorFirst => "other",
            Self::AutoFirst => "auto",
        }
    }
}

/// Minimum share of the link in [`LATE_PERIOD`] for the competing CUBIC, as a median of the seeds.
const CUBIC_SHARE_MIN: f64 = 0.30;

/// The same for Auto, and for a competing BBR.
const FAIR_SHARE_MIN: f64 = 0.45;

/// A single seed may be this much below the minimum, since two flows that measure each other never settle
/// completely.
const SEED_TOLERANCE: f64 = 0.05;

#[test]
fn competing_flows_share_the_link() {
    let mut failed = Vec::new();
    let competitors = [
        (CompetingFlow::Bbr, FAIR_SHARE_MIN),
        (CompetingFlow::OverestimatingBbr, FAIR_SHARE_MIN),
        (CompetingFlow::Cubic, CUBIC_SHARE_MIN),
    ];
    for (competitor, competitor_min) in competitors {
        for order in StartOrder::ALL {
            let reports: Vec<Report> =
                (1..=5).map(|seed| competitor.run_beside_auto(order, Time::ZERO, seed)).collect();
            for (whose, flow, minimum) in [("competitor", 1, competitor_min), ("auto", 0, FAIR_SHARE_MIN)] {
                let mut shares: Vec<f64> =
                    reports.iter().map(|report| report.utilization_of(flow, LATE_PERIOD)).collect();
                shares.sort_by(f64::total_cmp);
                if shares[2] < minimum || shares[0] < minimum - SEED_TOLERANCE {
                    failed.push(format!("{}: {whose} {shares:.3?}, minimum {minimum}", reports[0].label));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn cubic_alone_fills_link_and_queue() {
    let report = Simulation::new("cubic alone", CONTINENTAL, 1).run(Cubic::new);
    assert!(report.steady() > 0.95, "{}: {:.3}", report.label, report.steady());
    assert!(report.drop_count(Time::ZERO..secs(20), &[DropCause::Queue]) > 0, "{}", report.label);
}

#[test]
fn bbr_alone_fills_the_link_and_keeps_the_queue_short() {
    let report = Simulation::new("bbr alone", CONTINENTAL, 1).run(Bbr::new);
    assert!(report.steady() > 0.95, "{}: {:.3}", report.label, report.steady());
    let delay = report.queue_delay(secs(4)..secs(20), 0.5);
    assert!(delay < ms(5), "{}: queue delay {delay:?}", report.label);
}
