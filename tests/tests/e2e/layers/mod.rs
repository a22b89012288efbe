//! Layers that stay on the client's disk: nothing crosses twice, and nobody sees what is not for them.

mod cache_command;
mod private;
mod shared;
mod stored;

use hub_stand_in::Blob;

use crate::support::testbed::{Testbed, config, count, hub};

const MIB: u64 = 1 << 20;

/// The arguments of a client that keeps layers.
const KEEPING: [&str; 2] = ["--cache-size", "1 GB"];

/// A testbed whose client keeps layers.
async fn keeping_testbed() -> Testbed {
    let hub = hub().await;
    let config = config(&hub);
    Testbed::with(hub, &config, &KEEPING)
}

/// The bytes that have crossed the tunnel since the client's start.
fn crossed(testbed: &Testbed) -> u64 {
    count(&testbed.client, "transfers/bytes_crossed")
}

/// Asserts that the blob, and little more, has crossed.
fn assert_crossed_once(testbed: &Testbed, blob: &Blob) {
    let (crossed, sent) = (crossed(testbed), testbed.hub.transfers().bytes_sent());
    println!("{crossed} bytes have crossed, and {sent} were sent, of {}", blob.len());
    assert!(crossed >= blob.len() && crossed <= blob.len() * 102 / 100, "{crossed} of {}", blob.len());
}
