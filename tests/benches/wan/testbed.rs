//! The namespaces and the stand-in that all runs share, and a new link between laptop and server for each run.
//! Must never let the laptop reach the server on another path than that link.

use std::net::Ipv4Addr;

use anyhow::Result;
use docxy_tests::{
    net::Lab,
    stand_in::StandIn,
    wan::{End, LinkPreset, Wan},
};
use hub_stand_in::Listen;

use super::{
    results::Outcome,
    scenario::{Scenario, ScenarioContext},
};
use crate::{
    bulk_source::{self, REPOSITORY},
    subject::Subject,
    topology::Topology,
};

/// The addresses of the link's ends.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// Everything that all runs share. Drop order: the lab last.
pub(super) struct Testbed {
    source: StandIn,
    lab: Lab,
}

impl Testbed {
    /// The blob is large enough for this many seconds at this many bits per second.
    pub(super) fn new(bits_per_second: u64, seconds: f64) -> Result<Self> {
        /// Some scenarios last a little longer than the given duration.
        const DURATION_MARGIN: f64 = 1.5;
        let bytes = (bits_per_second as f64 / 8.0 * seconds * DURATION_MARGIN) as u64;
        let lab = Lab::new()?;
        let blob = format!("--blob={REPOSITORY}:{bytes}");
        let source = bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&blob])?;
        Ok(Self { source, lab })
    }

    /// Runs a scenario with one subject on a new link.
    pub(super) fn run(
        &self,
        scenario: &Scenario,
        link: &LinkPreset,
        seed: u64,
        subject: &dyn Subject,
        seconds: f64,
    ) -> Result<Outcome> {
        let end = |namespace: &str, address| End::new(namespace, address);
        let (client_end, server_end) =
            (end(self.lab.laptop.name(), CLIENT_ADDRESS), end(self.lab.abroad.name(), SERVER_ADDRESS));
        let wan = Wan::join(&client_end, &server_end, link.link, seed)?;
        let topology = Topology {
            client: Some(&self.lab.laptop),
            server: Some(&self.lab.abroad),
            server_ip: SERVER_ADDRESS.into(),
            rate: link.link.right_to_left.rate,
            source: &self.source,
        };
        let context = ScenarioContext { topology, wan: &wan, link: link.link, subject, seconds };
        let outcome = (scenario.run)(&context)?;
        Ok(outcome.on(wan.report()?))
    }
}
