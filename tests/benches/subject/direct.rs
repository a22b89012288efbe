//! No tunnel at all: the same reader, straight from the stand-in.
//! Must never be called better than the tunnel: where one needs a tunnel there is no such way.

use anyhow::Result;

use super::{Role, RunningSubject, Subject};
use crate::{
    bulk_source::REPOSITORY,
    topology::{PeerCommand, Topology},
};

/// Nothing in between.
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

/// A reader of the bulk from a registry at this URL.
pub(super) fn registry_reader(topology: &Topology<'_>, registry: &str) -> Result<PeerCommand> {
    Ok(topology
        .client_peer("read-http")
        .with(format!("--registry={registry}"))
        .with(format!("--repository={REPOSITORY}"))
        .with(format!("--digest={}", topology.source.digest(REPOSITORY)?)))
}

/// A reader that knows the stand-in itself.
pub(super) fn hub_reader(topology: &Topology<'_>) -> Result<PeerCommand> {
    let source = topology.source;
    let call = registry_reader(topology, &source.registry())?.with(format!("--ca={}", source.ca().display()));
    let hosts = source.resolve().iter();
    Ok(hosts.fold(call, |call, (host, address)| call.with(format!("--resolve={host}={address}"))))
}
