//! The largest manifests that a registry may send, with as much in them as fits: they cost a little time, and nobody
//! else waits meanwhile.

use std::time::{Duration, Instant};

use http::StatusCode;
use hub_stand_in::{Digest, Manifest};
use tokio::task::JoinSet;

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    testbed::Testbed,
};

/// Most bytes of a manifest (distribution spec, "Pushing Manifests").
const MAX: usize = 4 * 1024 * 1024;

/// Manifests that are asked for at once.
const CONCURRENT_PULLS: usize = 8;

/// An engine for which parts of the image go ahead.
const DOCKERD: (&str, &str) = ("user-agent", "docker/29.0.1 go/go1.25.4");

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn descriptor(n: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"","digest":"sha256:{n:064x}","size":1{more}}}"#)
}

/// As many of these as fit, with commas.
fn as_many_as_fit(make: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for n in 0.. {
        let next = make(n);
        if all.len() + next.len() > MAX - 1000 {
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
    assert!(text.len() <= MAX);
    let digest = Digest::of(text.as_bytes());
    Manifest { media_type, bytes: text.into(), digest }
}

/// One with tens of thousands of different layers of one byte.
fn many_layers(seed: usize) -> Manifest {
    let layers = as_many_as_fit(|n| descriptor(seed << 32 | n, ""));
    let config = descriptor(seed, "");
    manifest(IMAGE, format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#))
}

/// One with tens of thousands of different platforms, none of which runs here.
fn many_platforms(seed: usize) -> Manifest {
    let entries = as_many_as_fit(|n| {
        descriptor(seed << 32 | n, &format!(r#","platform":{{"os":"o{seed}","architecture":"a{n}"}}"#))
    });
    manifest(INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#))
}

/// One of the same size with nothing in it.
fn nothing(seed: usize) -> Manifest {
    let (config, text) = (descriptor(seed, ""), "x".repeat(MAX - 1000));
    manifest(
        IMAGE,
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"{text}"}}}}"#),
    )
}

/// Processor time of server and client for each of eight that are pulled at once, while another client is served.
async fn cost(testbed: &mut Testbed, make: fn(usize) -> Manifest) -> (f64, Duration) {
    let mut spent = [0.0; 2];
    let mut used = |testbed: &mut Testbed| {
        let now = [testbed.server.process(), testbed.client.process()]
            .map(|process| process.processor_seconds().unwrap());
        let since = [now[0] - spent[0], now[1] - spent[1]];
        spent = now;
        since
    };
    let tags: Vec<String> =
        (0..CONCURRENT_PULLS).map(|n| format!("{}-{n}", make(n).digest.as_str()[7..20].to_owned())).collect();
    for (n, tag) in tags.iter().enumerate() {
        testbed.hub.store().publish_manifest("library/large", tag, &make(n + 1));
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
        let asked = Instant::now();
        let bearer = testbed.engine.anonymous("library/hello").await;
        let small = testbed
            .engine
            .head("/v2/library/hello/manifests/latest", &[("authorization", &bearer), ANY])
            .await;
        assert_eq!(small.status, StatusCode::OK);
        longest = longest.max(asked.elapsed());
        while let Some(pulled) = pulls.try_join_next() {
            pulled.unwrap();
        }
    }
    // What goes ahead is sent behind the responses.
    tokio::time::timeout(REQUEST_TIMEOUT, async {
        while testbed.client.health().unwrap()["requests"] != 0 {}
    })
    .await
    .unwrap();
    let [server, client] = used(testbed);
    ((server + client) / CONCURRENT_PULLS as f64, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_manifest_delays_no_other_pull() {
    let mut testbed = Testbed::new().await;
    let (bytes, usual) = cost(&mut testbed, nothing).await;
    for make in [many_layers, many_platforms] {
        let (full, longest) = cost(&mut testbed, make).await;
        assert!(full - bytes < 0.05, "{full} s of processor time, {bytes} s for the bytes alone");
        assert!(longest < usual + Duration::from_secs(1), "somebody else waited for {longest:?}");
    }
}
