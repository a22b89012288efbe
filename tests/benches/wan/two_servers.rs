//! Two servers, each behind a link of its own: several bodies from one server, and from both.
//! Must never let the two links share anything but the machine.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use docxy_tests::{
    net::Namespace,
    wan::{End, Wan},
};

use super::{
    metric::Metric,
    results::Outcome,
    scenario::{STEADY_AFTER_SECONDS, ScenarioContext},
    scenarios::sleep_until,
};
use crate::{
    peer::TransferPlan,
    subject::{Measurement, Ours, RunningSubject},
};

/// The addresses of the second link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 2);

/// The layers that an engine pulls at the same time.
const BODIES: usize = 4;

/// The seed of the second link.
const SEED: u64 = 2;

pub(super) fn two_servers(context: &ScenarioContext<'_>) -> Result<Outcome> {
    let topology = &context.topology;
    let end = |namespace: Option<&Namespace>, address| -> Result<End> {
        Ok(End::new(namespace.context("two links need namespaces")?.name(), address))
    };
    let ends = (end(topology.client, CLIENT_ADDRESS)?, end(topology.server, SERVER_ADDRESS)?);
    let _second = Wan::join(&ends.0, &ends.1, context.link, SEED)?;
    let one = bodies(context, &Ours::Auto.start_with(topology, &[topology.server_ip])?)?;
    let both = Ours::Auto.start_with(topology, &[topology.server_ip, SERVER_ADDRESS.into()])?;
    let both = bodies(context, &both)?;
    let rate = |bodies: &[Measurement]| -> f64 {
        let goodputs = bodies.iter().map(|body| body.report.goodput(STEADY_AFTER_SECONDS, context.seconds));
        goodputs.sum()
    };
    let metrics = vec![
        Metric::new("one server, Mbit/s", rate(&one) / 1e6, 1),
        Metric::new("both, Mbit/s", rate(&both) / 1e6, 1),
        Metric::new("both ÷ one", rate(&both) / rate(&one), 2),
    ];
    Ok(Outcome::new(metrics, one.into_iter().chain(both).collect()))
}

/// Measures several bodies at once.
fn bodies(context: &ScenarioContext<'_>, running: &RunningSubject) -> Result<Vec<Measurement>> {
    let plan = TransferPlan::seconds(context.seconds);
    let transfers = (0..BODIES).map(|_| running.start_transfer(&plan)).collect::<Result<Vec<_>>>()?;
    if let Some(last) = transfers.last() {
        sleep_until(last.started + Duration::from_secs_f64(context.seconds));
    }
    transfers.into_iter().map(|transfer| running.finish(transfer)).collect()
}
