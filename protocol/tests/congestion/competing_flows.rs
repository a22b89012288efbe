//! How Auto shares a bottleneck: with TCP BBR, with a flow that follows RFC 9438, with its own kind.

use crate::bbr::Bbr;
use crate::cubic::Cubic;
use crate::link::{Conditions, DropCause};
use crate::report::Report;
use crate::sender::Controller;
use crate::simulation::Simulation;
use crate::traffic_source::Supply;
use crate::{Time, auto, ms, secs};
use std::ops::Range;
use std::time::Instant;

const CONTINENTAL: Conditions = Conditions::clean(100, ms(50));

/// The first comes so much earlier.
const HEAD_START: Time = secs(5);

/// What the bench reads: from 4 s to 20 s after the second came. And what comes of it in the end.
pub(crate) const EARLY_PERIOD: Range<Time> = secs(9)..secs(25);
pub(crate) const LATE_PERIOD: Range<Time> = secs(25)..secs(65);

/// Whom Auto meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CompetingFlow {
    Bbr,
    /// As measured on real links: one that believes in more than its part.
    OverestimatingBbr,
    Cubic,
    /// Another of its kind.
    Auto,
}

/// Who comes first.
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

    /// Both on a clean link: ours is flow 0, the rival 1. The seed shifts the second's start, since
    /// without jitter nothing else is left to chance.
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

/// In the long run, of the link: what is left to the rival, and what Auto gets, as medians of the seeds. Two
/// that measure each other never settle quite, so a seed may have a little less.
const CUBIC_SHARE_MIN: f64 = 0.30;
const FAIR_SHARE_MIN: f64 = 0.45;
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
            for (whose, flow, least) in [("left", 1, competitor_min), ("taken", 0, FAIR_SHARE_MIN)] {
                let mut shares: Vec<f64> =
                    reports.iter().map(|report| report.utilization_of(flow, LATE_PERIOD)).collect();
                shares.sort_by(f64::total_cmp);
                if shares[2] < least || shares[0] < least - SEED_TOLERANCE {
                    failed.push(format!("{}: {whose} {shares:.3?}, asked {least}", reports[0].label));
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
    assert!(delay < ms(5), "{}: waits {delay:?}", report.label);
}
