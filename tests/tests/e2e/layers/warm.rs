//! Images that are fetched ahead of time: by `docxy-client warm`, and by a running client on a schedule.

use std::{fs, io::Write as _};

use docxy_tests::process::{PROCESS_TIMEOUT, scratch};
use hub_stand_in::{Blob, Image};
use serde_json::Value;
use tokio::task::block_in_place;

use super::{KEEPING, MIB, crossed, keeping_testbed};
use crate::support::testbed::{Testbed, bytes, config, hub};

const PLATFORM: [&str; 2] = ["--platform", "linux/amd64"];

/// Publishes an image with one layer as `library/big`. Returns the layer.
fn publish(testbed: &Testbed, seed: u64) -> Blob {
    let image = Image::one_layer(seed, 4 * MIB + 77).unwrap();
    testbed.hub.store().publish("library/big", "latest", &image);
    image.platform("amd64").unwrap().layers[0].blob.clone()
}

/// More than the manifests take, which `warm` requests each time to learn what the tag names now.
const MANIFESTS_BYTES_MAX: u64 = 4096;

async fn assert_pulled_from_disk(testbed: &Testbed, layer: &Blob) {
    let before = crossed(testbed);
    let path = format!("/v2/library/big/blobs/{}", layer.digest());
    let response = testbed.engine.get(&path, &[]).await;
    assert!(response.whole && response.body == bytes(layer));
    assert_eq!(crossed(testbed), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_once_before_an_engine_asks() {
    let mut testbed = keeping_testbed().await;
    let layer = publish(&testbed, 1);
    let warm = |testbed: &Testbed, arguments: &[&str]| {
        let arguments = [&["warm"], &PLATFORM[..], arguments].concat();
        block_in_place(|| testbed.client.command_with_input(&arguments, "")).unwrap()
    };
    let first = warm(&testbed, &["big"]);
    assert!(first.status.success() && first.stdout.starts_with("docker.io/library/big@sha256:"), "{first:?}");
    assert!(first.stdout.trim().ends_with(" MB fetched"), "{first:?}");
    assert!(crossed(&testbed) >= layer.len());
    assert_pulled_from_disk(&testbed, &layer).await;

    let before = crossed(&testbed);
    let folder = scratch().unwrap();
    let list = folder.path().join("images");
    fs::write(&list, "# ours\nbig\nno/such:image\n").unwrap();
    let again = warm(&testbed, &["--file", list.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(again.stdout.trim().ends_with(", 0 B fetched"), "{again:?}");
    assert!(again.stderr.contains("not kept: docker.io/no/such:image"), "{again:?}");
    assert!(crossed(&testbed) - before < MANIFESTS_BYTES_MAX, "a layer has crossed again");

    // The same layers, by a tunnel of its own.
    block_in_place(|| testbed.client.stop()).unwrap();
    let alone = warm(&testbed, &[&["big"], &KEEPING[..]].concat());
    assert!(alone.status.success() && alone.stdout.trim().ends_with(", 0 B fetched"), "{alone:?}");
    let off = warm(&testbed, &["big", "--cache-size", "0"]);
    assert!(off.status.code() == Some(1) && off.stderr.contains("cache_size"), "{off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_client_fetches_images_on_its_schedule() {
    let hub = hub().await;
    let config = config(&hub);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[warm]\nimages = ['big']\nevery = '1 day'\nplatform = 'linux/amd64'\n").unwrap();
    let image = Image::one_layer(2, 4 * MIB).unwrap();
    hub.store().publish("library/big", "latest", &image);
    let arguments = [&KEEPING[..], &["--config", file.path().to_str().unwrap()]].concat();
    let mut testbed = Testbed::with(hub, &config, &arguments);
    let layer = image.platform("amd64").unwrap().layers[0].blob.clone();
    let is_stored = |health: &Value| health["cache"]["bytes"].as_u64() >= Some(layer.len());
    block_in_place(|| testbed.client.wait_for_health("fetch an image", PROCESS_TIMEOUT, is_stored)).unwrap();
    assert_pulled_from_disk(&testbed, &layer).await;
}
