//! The laptop, the server's place abroad and the stand-in behind it, and a link between the first two for each turn.
//! Must never let the laptop reach the server but over that link.

use std::net::Ipv4Addr;

use anyhow::Result;
use docxy_tests::{
    hub::Listen,
    net::Lab,
    stand_in::StandIn,
    wan::{End, NamedLink, Wan},
};

use super::{
    result::Outcome,
    scenario::{Scenario, Stage},
};
use crate::{
    contender::Contender,
    place::Place,
    source::{self, REPOSITORY},
};

/// The link's ends.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

/// All that stays while contenders take turns. Dropped in this order: the lab last.
pub(super) struct World {
    source: StandIn,
    lab: Lab,
}

impl World {
    /// One whose blob is enough for so many seconds at so many bits per second.
    pub(super) fn new(bits_per_second: u64, seconds: f64) -> Result<Self> {
        /// Some scenarios last a little longer than they are told to.
        const LONGER: f64 = 1.5;
        let bytes = (bits_per_second as f64 / 8.0 * seconds * LONGER) as u64;
        let lab = Lab::new()?;
        let blob = format!("--blob={REPOSITORY}:{bytes}");
        let source = source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&blob])?;
        Ok(Self { source, lab })
    }

    /// One contender's turn, on a new link.
    pub(super) fn play(
        &self,
        scenario: &Scenario,
        link: &NamedLink,
        seed: u64,
        contender: &dyn Contender,
        seconds: f64,
    ) -> Result<Outcome> {
        let end = |namespace: &str, address| End::new(namespace, address);
        let (near, far) = (end(self.lab.laptop.name(), NEAR), end(self.lab.abroad.name(), FAR));
        let wan = Wan::join(&near, &far, link.link, seed)?;
        let place = Place {
            near: Some(&self.lab.laptop),
            far: Some(&self.lab.abroad),
            far_ip: FAR.into(),
            rate: link.link.right_to_left.rate,
            source: &self.source,
        };
        let stage = Stage { place, wan: &wan, link: link.link, contender, seconds };
        let outcome = (scenario.play)(&stage)?;
        Ok(outcome.on(wan.report()?))
    }
}
