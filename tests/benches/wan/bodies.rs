//! Several bodies of one client on one line: after a cancel, and side by side.
//! Must never judge a figure that depends on the machine: bytes and shares are of the emulated line.

use std::time::{Duration, Instant};

use anyhow::Result;
use docxy_tests::statistics::min;

use super::{
    metric::Metric,
    results::Outcome,
    scenario::ScenarioContext,
    scenarios::{rate, sleep_until},
};
use crate::{
    peer::TransferPlan,
    subject::{Measurement, RunningSubject, Transfer},
};

/// How long a body is alone: every window is open then.
const ALONE_SECONDS: f64 = 8.0;

/// How long shares are measured.
const SHARES_SECONDS: f64 = 5.0;

/// From a body's first byte until shares are measured.
const SETTLE_SECONDS: f64 = 1.0;

/// The maximum share of payload in the link's rate; headers take the rest.
const PAYLOAD_SHARE_MAX: f64 = 0.96;

pub(super) fn cancel(context: &ScenarioContext<'_>) -> Result<Outcome> {
    /// How long it is watched what arrives after the cancel.
    const QUIET_SECONDS: f64 = 5.0;
    let running = context.start()?;
    let delivered = || Ok::<_, anyhow::Error>(context.counters()?.delivered.bytes as f64);
    let plan = TransferPlan::seconds(ALONE_SECONDS);
    // The reader closes its connection in the middle of the body.
    let transfer = running.start_transfer(&plan)?;
    sleep_until(transfer.started + Duration::from_secs_f64(ALONE_SECONDS));
    let before = delivered()?;
    let first = running.finish(transfer)?;
    sleep_until(Instant::now() + Duration::from_secs_f64(QUIET_SECONDS));
    let wasted = (delivered()? - before) * 8.0 / rate(&context.link);

    let second = running.measure(&plan)?;
    let next = running.measure(&plan)?;
    let metrics = vec![
        Metric::new("after the cancel: s of line", wasted, 2),
        Metric::new("… less a round trip", wasted - rtt(context), 2),
        Metric::seconds("next body: first byte, s", next.report.first_byte()),
        Metric::new("… in round trips", round_trips(context, &next), 1),
        Metric::percent(
            "next body, its first 5 s %",
            context.share(next.report.goodput(0.0, SHARES_SECONDS)) / PAYLOAD_SHARE_MAX,
        ),
    ];
    Ok(Outcome::new(metrics, vec![first, second, next]))
}

pub(super) fn second_body(context: &ScenarioContext<'_>) -> Result<Outcome> {
    let running = context.start()?;
    let phase = SETTLE_SECONDS + SHARES_SECONDS + 4.0;
    let first = Body::start(&running, ALONE_SECONDS + 2.0 * phase)?;
    let at = |seconds: f64| sleep_until(first.transfer.started + Duration::from_secs_f64(seconds));
    at(ALONE_SECONDS);
    let second = Body::start(&running, 2.0 * phase)?;
    at(ALONE_SECONDS + phase);
    let (third, fourth) = (Body::start(&running, phase)?, Body::start(&running, phase)?);
    let bodies = [first.end()?, second.end()?, third.end()?, fourth.end()?];
    let shares = |count: usize| {
        let last = &bodies[count - 1];
        let from = last.started
            + Duration::from_secs_f64(last.measured.report.first_byte().unwrap_or(phase) + SETTLE_SECONDS);
        let share = |body: &EndedBody| {
            let from = from.saturating_duration_since(body.started).as_secs_f64();
            context.share(body.measured.report.goodput(from, from + SHARES_SECONDS)) / PAYLOAD_SHARE_MAX
        };
        min(bodies[..count].iter().map(share)) * count as f64
    };
    let metrics = vec![
        Metric::seconds("second body: first byte, s", bodies[1].measured.report.first_byte()),
        Metric::new("… in round trips", round_trips(context, &bodies[1].measured), 1),
        Metric::new("least of 2, × 2", shares(2), 2),
        Metric::seconds("fourth body: first byte, s", bodies[3].measured.report.first_byte()),
        Metric::new("least of 4, × 4", shares(4), 2),
    ];
    Ok(Outcome::new(metrics, bodies.into_iter().map(|body| body.measured).collect()))
}

/// A body in transfer.
struct Body<'a> {
    running: &'a RunningSubject,
    transfer: Transfer,
}

/// A body that was read for the planned time.
struct EndedBody {
    started: Instant,
    measured: Measurement,
}

impl<'a> Body<'a> {
    fn start(running: &'a RunningSubject, seconds: f64) -> Result<Self> {
        Ok(Self { running, transfer: running.start_transfer(&TransferPlan::seconds(seconds))? })
    }

    fn end(self) -> Result<EndedBody> {
        let started = self.transfer.started;
        Ok(EndedBody { started, measured: self.running.finish(self.transfer)? })
    }
}

fn rtt(context: &ScenarioContext<'_>) -> f64 {
    context.link.rtt().as_secs_f64()
}

fn round_trips(context: &ScenarioContext<'_>, measured: &Measurement) -> f64 {
    measured.report.first_byte().unwrap_or(f64::NAN) / rtt(context)
}
