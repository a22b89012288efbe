//! Registries that are slow, and not broken: an engine waits as long as it would without Docxy, and no pull is paid for
//! twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hub_stand_in::{Digest, Fault, Image, LoggedRequest, Manifest, Rule, Site};
use tokio::time::timeout;

use crate::support::{
    http_client::{ANY, HttpResponse},
    testbed::{Testbed, bytes},
};

const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");

/// containerd, which gives up after 30 s without a response head.
const CONTAINERD: &str = "containerd/2.3.0";

/// Engines that wait as long as it takes.
const PATIENT: [&str; 4] = [
    "docker/20.10.24 go/go1.19.8 os/linux UpstreamClient(Docker-Client/20.10.24 \\(linux\\))",
    "containerd/1.6.20~ds1",
    "containers/5.24.1 (github.com/containers/image)",
    "curl/8.5.0",
];

/// What cold storage takes.
const COLD_MILLIS: u64 = 37_000;

async fn get(testbed: &Testbed, path: &str, agent: &str) -> (HttpResponse, Duration) {
    let started = Instant::now();
    let response = testbed.engine.get(path, &[PUBLIC, ANY, ("user-agent", agent)]).await;
    (response, started.elapsed())
}

fn assert_in_time_for_containerd(elapsed: Duration) {
    assert!((20..30).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_in_cold_storage_takes_as_long_as_its_engine_waits() {
    let testbed = &Testbed::new().await;
    let agents = || PATIENT.into_iter().chain([CONTAINERD]);
    let cases = agents().map(|agent| (Site::Cdn, agent)).chain(agents().map(|agent| (Site::Registry, agent)));
    // All at a time: each waits for nothing else.
    join_all((1..).zip(cases).map(async |(seed, (site, agent))| {
        let (blob, path) = testbed.with_blob(seed, 300_000);
        let cold = Fault::Delay { site, millis: COLD_MILLIS };
        testbed.hub.faults().arm(Rule::always(cold).on(blob.digest().hex()));
        let (response, elapsed) = get(testbed, &path, agent).await;
        if agent == CONTAINERD {
            let hop = if site == Site::Cdn { "CDN" } else { "registry" };
            let (status, _, message) = response.fault(hop);
            assert_eq!(status, 504, "{message}");
            assert_in_time_for_containerd(elapsed);
        } else {
            assert_eq!(response.status, StatusCode::OK, "{agent}: {response:?}");
            assert!(response.whole && response.body == bytes(&blob), "{agent}");
        }
        let requests = testbed
            .hub
            .request_log()
            .count(|entry| entry.path.contains(blob.digest().hex()) && entry.site == site);
        assert_eq!(requests, 1, "{agent}: a request that may still be answered is not repeated");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_blob_may_come_from_cold_storage() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 3_000_000);
    testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte: 1_000_000 }));
    let cold = Fault::Delay { site: Site::Cdn, millis: COLD_MILLIS };
    testbed.hub.faults().arm(Rule::always(cold).on(blob.digest().hex()).after(1));
    let headers = [PUBLIC, ("user-agent", CONTAINERD)];
    let response = testbed.engine.begin(Method::GET, &path, &headers).await;
    // The first attempt gives up after 30 s, since another host may be quicker, and the second one waits for longer.
    let body = timeout(Duration::from_secs(120), response.into_body().collect()).await.unwrap().unwrap();
    assert!(body.to_bytes() == bytes(&blob));
}

/// The number of pulls that the manifests of a repository have cost.
fn pulls(testbed: &Testbed, repository: &str) -> usize {
    let part = format!("/{repository}/manifests/");
    testbed.hub.request_log().count(|entry| entry.method == "GET" && entry.path.contains(&part))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_moves_is_not_cut() {
    let testbed = Testbed::new().await;
    // As large as it may be.
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"","digest":"sha256:{:064x}","size":1}},"layers":[],"annotations":{{"a":"{}"}}}}"#,
        1,
        "x".repeat(4 * 1024 * 1024 - 1000)
    );
    let manifest = Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json",
        digest: Digest::of(text.as_bytes()),
        bytes: text.into(),
    };
    testbed.hub.store().publish_manifest("library/slow", "latest", &manifest);
    let trickle = Fault::Trickle { site: Site::Registry, millis: 22_000 };
    testbed.hub.faults().arm(Rule::always(trickle).on("library/slow/manifests/"));
    let (response, elapsed) = get(&testbed, "/v2/library/slow/manifests/latest", PATIENT[0]).await;
    assert!(response.status == StatusCode::OK && response.body == manifest.bytes, "{:?}", response.headers);
    assert!(elapsed > Duration::from_secs(20), "{elapsed:?}");
    assert_eq!(pulls(&testbed, "library/slow"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_comes_too_late_for_its_engine_is_paid_for_once() {
    let testbed = Testbed::new().await;
    let image = Image::hello_from("late").unwrap();
    testbed.hub.store().publish("library/late", "latest", &image);
    let late = Fault::Delay { site: Site::Registry, millis: COLD_MILLIS };
    testbed.hub.faults().arm(Rule::always(late).on("/library/late/manifests/sha256"));
    let path = format!("/v2/library/late/manifests/{}", image.digest());
    let (response, elapsed) = get(&testbed, &path, CONTAINERD).await;
    assert_eq!(response.fault("registry").0, 504);
    assert_in_time_for_containerd(elapsed);
    let (response, _) = get(&testbed, &path, CONTAINERD).await;
    assert_eq!((response.status, response.body), (StatusCode::OK, image.index().bytes.to_vec()));
    let is_pull = |entry: &LoggedRequest| entry.method == "GET" && entry.path == path;
    assert_eq!(testbed.hub.request_log().count(is_pull), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_falls_silent_is_requested_once_more() {
    let testbed = Testbed::new().await;
    testbed.hub.store().publish("library/silent", "latest", &Image::hello_from("silent").unwrap());
    let silent = Rule::always(Fault::FallSilent { site: Site::Registry });
    testbed.hub.faults().arm(silent.on("library/silent/manifests/"));
    let (response, elapsed) = get(&testbed, "/v2/library/silent/manifests/latest", PATIENT[0]).await;
    let (status, _, message) = response.fault("registry");
    assert_eq!(status, 504, "{message}");
    assert!(elapsed < Duration::from_secs(45), "{elapsed:?}");
    assert_eq!(pulls(&testbed, "library/silent"), 2);
}
