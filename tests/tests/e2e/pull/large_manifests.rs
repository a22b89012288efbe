//! Manifests of the largest allowed size, with as many entries as fit: they cost little processor time, and no other
//! pull waits for them.

use std::time::{Duration, Instant};

use docxy_tests::process::PROCESS_TIMEOUT;
use http::StatusCode;
use hub_stand_in::{Digest, Manifest};
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};

use crate::support::{http_client::ANY, testbed::Testbed};

/// The largest manifest in bytes (distribution spec, "Pushing Manifests").
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Manifests that are pulled at once.
const CONCURRENT_PULLS: usize = 8;

/// Measurements of which a busy machine, where processor time is dearer, may disturb all but one.
const ATTEMPTS: usize = 3;

/// An engine for which the server prefetches parts of the image.
const DOCKERD: (&str, &str) = ("user-agent", "docker/29.0.1 go/go1.25.4");

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn descriptor(n: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"","digest":"sha256:{n:064x}","size":1{more}}}"#)
}

/// As many entries as fit into a manifest, separated by commas.
fn entries(entry: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for n in 0.. {
        let next = entry(n);
        if all.len() + next.len() > MANIFEST_BYTES_MAX - 1000 {
            break;
        }
        if n > 0 {
            all.push(',');
        }
        all += &next;
    }
    all
}

fn manifest(media_type: &'static str, text: String) -> Manifest {
    assert!(text.len() <= MANIFEST_BYTES_MAX);
    let digest = Digest::of(text.as_bytes());
    Manifest { media_type, bytes: text.into(), digest }
}

/// A manifest with tens of thousands of different layers of one byte.
fn many_layers(seed: usize) -> Manifest {
    let layers = entries(|n| descriptor(seed << 32 | n, ""));
    let config = descriptor(seed, "");
    manifest(IMAGE, format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#))
}

/// An index with tens of thousands of platforms, none of which is this machine's.
fn many_platforms(seed: usize) -> Manifest {
    let manifests = entries(|n| {
        descriptor(seed << 32 | n, &format!(r#","platform":{{"os":"o{seed}","architecture":"a{n}"}}"#))
    });
    manifest(INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{manifests}]}}"#))
}

/// A manifest of the same size without layers.
fn no_layers(seed: usize) -> Manifest {
    let (config, text) = (descriptor(seed, ""), "x".repeat(MANIFEST_BYTES_MAX - 1000));
    manifest(
        IMAGE,
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"{text}"}}}}"#),
    )
}

/// Pulls [`CONCURRENT_PULLS`] such manifests at once, and small ones meanwhile. Returns the processor time of server and
/// client for each, in seconds, and the longest duration of a small pull. Each `attempt` has manifests of its own, since
/// the client keeps those of the others.
async fn cost(testbed: &mut Testbed, make: fn(usize) -> Manifest, attempt: usize) -> (f64, Duration) {
    let mut total = [0.0; 2];
    let mut used = |testbed: &mut Testbed| {
        let now = [testbed.server.process(), testbed.client.process()]
            .map(|process| process.processor_seconds().unwrap());
        let since = [now[0] - total[0], now[1] - total[1]];
        total = now;
        since
    };
    let first = attempt * CONCURRENT_PULLS;
    let manifests: Vec<Manifest> = (first..first + CONCURRENT_PULLS).map(make).collect();
    let tags: Vec<String> =
        manifests.iter().map(|manifest| manifest.digest.as_str()[7..20].to_owned()).collect();
    for (tag, manifest) in tags.iter().zip(&manifests) {
        testbed.hub.store().publish_manifest("library/large", tag, manifest);
    }
    let bearer = testbed.engine.anonymous("library/large").await;
    used(testbed);
    let mut pulls = JoinSet::new();
    for tag in tags {
        let (engine, bearer) = (testbed.engine, bearer.clone());
        pulls.spawn(async move {
            let path = format!("/v2/library/large/manifests/{tag}");
            let response = engine.get(&path, &[("authorization", &bearer), ANY, DOCKERD]).await;
            assert_eq!((response.status, response.whole), (StatusCode::OK, true));
        });
    }
    let mut longest = Duration::ZERO;
    while !pulls.is_empty() {
        let started = Instant::now();
        let bearer = testbed.engine.anonymous("library/hello").await;
        let small = testbed
            .engine
            .head("/v2/library/hello/manifests/latest", &[("authorization", &bearer), ANY])
            .await;
        assert_eq!(small.status, StatusCode::OK);
        longest = longest.max(started.elapsed());
        while let Some(pulled) = pulls.try_join_next() {
            pulled.unwrap();
        }
    }
    // Prefetched items follow the responses.
    let is_idle = |health: &Value| health["requests"] == 0;
    block_in_place(|| testbed.client.wait_for_health("end its requests", PROCESS_TIMEOUT, is_idle)).unwrap();
    let [server, client] = used(testbed);
    ((server + client) / CONCURRENT_PULLS as f64, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_manifest_delays_no_other_pull() {
    let mut testbed = Testbed::new().await;
    let (without_layers, usual) = cost(&mut testbed, no_layers, 0).await;
    for make in [many_layers, many_platforms] {
        let mut attempt = 0;
        loop {
            let (full, longest) = cost(&mut testbed, make, attempt).await;
            attempt += 1;
            if full - without_layers < 0.05 && longest < usual + Duration::from_secs(1) {
                break;
            }
            assert!(
                attempt < ATTEMPTS,
                "{full} s of processor time, {without_layers} s without layers; another pull took {longest:?}, \
                 and {usual:?} usually"
            );
        }
    }
}
