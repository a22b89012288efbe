//! A testbed whose client reaches its server through a relay, and transfers that a test interrupts.
//! Must never interrupt anything itself.

use std::time::{Duration, Instant};

use docxy_tests::docxy::ServerConfig;
use hub_stand_in::{Blob, Hub};

use super::{
    http_client::HttpClient,
    raw_http::{End, RawConnection, RawResponse},
    relay::{QUIC, Relay},
    testbed::{Testbed, bytes, client, config, hub, server},
};

pub(crate) const MIB: u64 = 1 << 20;

/// A testbed with a relay between its client and its server.
pub(crate) struct RelayedTestbed {
    pub(crate) testbed: Testbed,
    pub(crate) relay: Relay,
}

impl RelayedTestbed {
    pub(crate) async fn new() -> Self {
        let hub = hub().await;
        let config = config(&hub);
        Self::with(hub, &config, Duration::ZERO, &[]).await
    }

    /// The same with the QUIC leg, whatever the variant of the run.
    pub(crate) async fn quic() -> Self {
        let hub = hub().await;
        let config = config(&hub);
        Self::with(hub, &config, Duration::ZERO, &QUIC).await
    }

    /// The same with this server config, this one-way delay, and further arguments for the client.
    pub(crate) async fn with(hub: Hub, config: &ServerConfig, delay: Duration, arguments: &[&str]) -> Self {
        let server = server(config);
        let relay = Relay::with_delay(server.address(), delay);
        let client = client(&relay.link_to(&server, "laptop"), arguments);
        let testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
        Self { testbed, relay }
    }
}

/// A transfer in progress, of which at least this many bytes were read. The rest is not read.
pub(crate) async fn begin(testbed: &Testbed, path: &str, at_least: u64) -> RawConnection {
    let bearer = testbed.engine.anonymous("library/hello").await;
    let mut raw = RawConnection::get(
        testbed.client.address(),
        path,
        &[("authorization", &bearer), ("connection", "close")],
    )
    .await;
    raw.read_body(at_least as usize).await;
    raw
}

/// Reads a blob to its end. Returns the longest time between two reads.
pub(crate) async fn longest_pause(mut raw: RawConnection, blob: &Blob) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while (raw.body().len() as u64) < blob.len() {
        raw.read_body(raw.body().len() + 1).await;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert_whole(&raw.rest().await, blob);
    longest
}

pub(crate) fn assert_whole(received: &RawResponse, blob: &Blob) {
    assert_eq!((received.status(), received.body().len() as u64, received.end), (200, blob.len(), End::Fin));
    assert!(received.body() == bytes(blob), "not the right bytes");
}
