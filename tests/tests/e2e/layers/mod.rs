//! Layers that stay on the client's disk: nothing crosses twice, and private ones are shown only to their owners.

mod cache_command;
mod private;
mod server_cache;
mod shared;
mod stored;
mod warm;

use std::{fs, path::Path};

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

/// Whether a file below this directory has these bytes.
fn is_on_disk(directory: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_on_disk(&path, bytes);
        }
        path.is_file() && fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}
