//! No tunnel: the same reader connects directly to the stand-in.
//! Must never be compared as an alternative: users of a tunnel have no direct path.

use anyhow::Result;

use super::{Role, RunningSubject, Subject};
use crate::{
    bulk_source::REPOSITORY,
    topology::{PeerCommand, Topology},
};

/// No tunnel.
pub(crate) struct Direct;

impl Subject for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject> {
        let source = topology.source;
        Ok(RunningSubject::new(Role::Reader, hub_reader(topology)?).with_process(Role::Source, source.pid()))
    }
}

/// A reader that pulls the bulk from a registry at this URL.
pub(super) fn registry_reader(topology: &Topology<'_>, registry: &str) -> Result<PeerCommand> {
    Ok(topology
        .client_peer("read-http")
        .with(format!("--registry={registry}"))
        .with(format!("--repository={REPOSITORY}"))
        .with(format!("--digest={}", topology.source.digest(REPOSITORY)?)))
}

/// A reader that connects to the stand-in's own hosts.
pub(super) fn hub_reader(topology: &Topology<'_>) -> Result<PeerCommand> {
    let source = topology.source;
    let call = registry_reader(topology, &source.registry())?.with(format!("--ca={}", source.ca().display()));
    let hosts = source.resolve().iter();
    Ok(hosts.fold(call, |call, (host, address)| call.with(format!("--resolve={host}={address}"))))
}
