//! A testbed whose client reaches its server through a UDP relay, and transfers that a test interrupts.
//! Must never interrupt anything itself.

use docxy_tests::hub::Blob;

use super::{
    http_client::Engine,
    raw_http::{End, Raw, Said},
    testbed::{World, bytes, client, config, hub, server},
    udp_relay::Relay,
};

pub(crate) const MIB: u64 = 1 << 20;

/// A world whose way is in our hands.
pub(crate) struct Way {
    pub(crate) world: World,
    pub(crate) relay: Relay,
}

impl Way {
    pub(crate) async fn new() -> Self {
        let hub = hub().await;
        let server = server(&config(&hub));
        let relay = Relay::to(server.address()).await;
        let client = client(&relay.link_to(&server, "laptop"), &[]);
        let world = World { engine: Engine::at(client.address()), client, server, hub };
        Self { world, relay }
    }
}

/// A transfer of `blob` under way, of which so much has come, and which then isn't read.
pub(crate) async fn begin(world: &World, path: &str, at_least: u64) -> Raw {
    let bearer = world.engine.anonymous("library/hello").await;
    let mut raw =
        Raw::get(world.client.address(), path, &[("authorization", &bearer), ("connection", "close")]).await;
    raw.read_body(at_least as usize).await;
    raw
}

pub(crate) fn assert_whole(said: &Said, blob: &Blob) {
    assert_eq!((said.status(), said.body().len() as u64, said.end), (200, blob.len(), End::Fin));
    assert!(said.body() == bytes(blob), "not the right bytes");
}
