//! No tunnel at all: the same reader, straight from the stand-in.
//! Must never be called better than the tunnel: where one needs a tunnel there is no such way.

use anyhow::Result;

use super::{Contender, Role, Running};
use crate::{
    place::{PeerCall, Place},
    source::REPOSITORY,
};

/// Nothing in between.
pub(crate) struct Straight;

impl Contender for Straight {
    fn name(&self) -> &'static str {
        "straight"
    }

    fn start(&self, place: &Place<'_>) -> Result<Running> {
        let source = place.source;
        Ok(Running::new(Role::Reader, beyond(place)?).counting(Role::Source, source.pid()))
    }
}

/// A reader of the bulk from a registry at this URL.
pub(super) fn reader(place: &Place<'_>, registry: &str) -> Result<PeerCall> {
    Ok(place
        .near_peer("read-http")
        .with(format!("--registry={registry}"))
        .with(format!("--repository={REPOSITORY}"))
        .with(format!("--digest={}", place.source.digest(REPOSITORY)?)))
}

/// A reader that knows the stand-in itself.
pub(super) fn beyond(place: &Place<'_>) -> Result<PeerCall> {
    let source = place.source;
    let call = reader(place, &source.registry())?.with(format!("--ca={}", source.ca().display()));
    let hosts = source.resolve().iter();
    Ok(hosts.fold(call, |call, (host, address)| call.with(format!("--resolve={host}={address}"))))
}
