//! Temporary failures between server, registry and CDN: an engine must not notice them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::{Blob, Fault, Image, Rule, Site};

use crate::support::{
    http_client::{ANY, HttpResponse, basic},
    raw_http::{End, RawConnection},
    testbed::{ALICE, Testbed, bytes},
};

const MIB: u64 = 1 << 20;

/// The lengths of a body on one stream, and of a body in segments.
const LENGTHS: [u64; 2] = [300_000, 5 * MIB];

async fn pull(testbed: &Testbed, path: &str, headers: &[(&str, &str)]) -> HttpResponse {
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    testbed.engine.get(path, &headers).await
}

fn assert_complete(response: &HttpResponse, blob: &Blob) {
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("content-length"), blob.len().to_string());
    assert!(response.whole, "truncated after {} of {} bytes", response.body.len(), blob.len());
    assert!(response.body == bytes(blob), "the bytes are wrong");
}

/// The ranges of requests to the CDN, oldest first.
fn ranges(testbed: &Testbed) -> Vec<String> {
    let cdn = testbed.hub.request_log().of(Site::Cdn);
    cdn.iter().filter_map(|entry| entry.header("range").map(str::to_owned)).collect()
}

fn status(site: Site, status: u16) -> Fault {
    Fault::Status { site, status, retry_after: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_truncated_five_times_arrives_whole() {
    let testbed = Testbed::new().await;
    for (seed, len) in (1..).zip(LENGTHS) {
        let (blob, path) = testbed.with_blob(seed, len);
        for cut in 1..=5 {
            testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte: cut * len / 6 + cut }));
        }
        testbed.hub.request_log().clear();
        assert_complete(&pull(&testbed, &path, &[]).await, &blob);
        assert!(testbed.hub.faults().armed().is_empty());
        assert_eq!(ranges(&testbed).len(), 5);
        let is_of_blob = |entry: &hub_stand_in::LoggedRequest| entry.path == path;
        assert_eq!(testbed.hub.request_log().count(is_of_blob), 6, "each attempt starts at the registry");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_stays_within_the_engines_range() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 5 * MIB);
    let content = bytes(&blob);
    for (range, start, end) in [
        ("bytes=1000000-", 1_000_000, 5 * MIB),
        ("bytes=1000000-2999999", 1_000_000, 3_000_000),
        ("bytes=1999990-2000009", 1_999_990, 2_000_010),
    ] {
        testbed.hub.request_log().clear();
        testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte: 2_000_000 }));
        let response = pull(&testbed, &path, &[("range", range), ("accept-encoding", "gzip")]).await;
        assert_eq!(response.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.header("content-range"), format!("bytes {start}-{}/{}", end - 1, 5 * MIB));
        assert!(response.whole && response.body == content[start as usize..end as usize], "{range}");
        let requests = ranges(&testbed);
        assert_eq!(requests.len(), 2, "{requests:?}");
        let last = if end == 5 * MIB { String::new() } else { (end - 1).to_string() };
        assert!(requests[1].ends_with(&format!("-{last}")), "{requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_layer_is_continued_after_15_seconds() {
    let testbed = &Testbed::new().await;
    let stalled = (1..).zip(LENGTHS).map(async |(seed, len)| {
        let (blob, path) = testbed.with_blob(seed, len);
        let hex = blob.digest().hex();
        testbed.hub.faults().arm(Rule::once(Fault::StallAt { byte: len / 2 }).on(hex));
        let started = Instant::now();
        assert_complete(&pull(testbed, &path, &[]).await, &blob);
        assert!(started.elapsed() >= Duration::from_secs(15), "{:?}", started.elapsed());
    });
    join_all(stalled).await;
    assert_eq!(testbed.hub.transfers().live(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_urls_and_failed_hosts_are_retried() {
    let testbed = Testbed::new().await;
    let faults = [
        Fault::ExpiredUrl,
        status(Site::Cdn, 403),
        status(Site::Cdn, 410),
        status(Site::Cdn, 500),
        status(Site::Registry, 503),
        Fault::HangUp { site: Site::Cdn },
        Fault::HangUp { site: Site::Registry },
        // The server's own token has expired.
        Fault::InvalidToken,
        Fault::WrongRange,
        // The second response announces less than the first.
        Fault::TruncateAt { byte: 290_000 },
        Fault::IgnoreRange,
    ];
    for (seed, fault) in (1..).zip(faults) {
        let (blob, path) = testbed.with_blob(seed, 300_000);
        testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte: 200_000 }));
        // The first response is correct but truncated. A response that never fits it can fail at once.
        let after = u32::from(!matches!(fault, Fault::WrongRange | Fault::IgnoreRange));
        testbed.hub.faults().arm(Rule::once(fault.clone()).on(blob.digest().hex()).after(after));
        assert_complete(&pull(&testbed, &path, &[]).await, &blob);
        assert!(testbed.hub.faults().armed().is_empty(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_response_is_retried_twice() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 300_000);
    for fault in [
        status(Site::Registry, 503),
        status(Site::Registry, 502),
        Fault::HangUp { site: Site::Registry },
        Fault::HangUp { site: Site::Cdn },
        status(Site::Cdn, 503),
        Fault::ExpiredUrl,
    ] {
        testbed.hub.faults().arm(Rule::times(fault.clone(), 2).on("blobs"));
        assert_complete(&pull(&testbed, &path, &[]).await, &blob);
        assert!(testbed.hub.faults().armed().is_empty(), "{fault:?}");
    }
    for fault in [status(Site::Registry, 504), Fault::HangUp { site: Site::Registry }] {
        testbed.hub.faults().arm(Rule::times(fault.clone(), 2).on("manifests"));
        let manifest = pull(&testbed, "/v2/library/hello/manifests/latest", &[ANY]).await;
        assert_eq!(manifest.status, StatusCode::OK, "{fault:?}");
    }
    let credential = basic(ALICE.0, ALICE.1);
    for fault in [status(Site::Auth, 503), Fault::HangUp { site: Site::Auth }] {
        testbed.hub.faults().arm(Rule::times(fault.clone(), 2));
        let token = "/auth/token?service=registry.docker.io&scope=repository:alice/private:pull";
        let response = testbed.engine.get(token, &[("authorization", &credential)]).await;
        assert_eq!(response.status, StatusCode::OK, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_refusal_ends_the_layer() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for (seed, len) in (1..).zip(LENGTHS) {
        let (blob, _) = testbed.with_blob(seed, len);
        testbed.hub.store().add_blob("alice/private", blob.clone());
        let path = format!("/v2/alice/private/blobs/{}", blob.digest());
        testbed.hub.faults().arm(Rule::once(Fault::CutAt { byte: len / 2 }));
        // Her own token, which only she can renew.
        testbed.hub.faults().arm(Rule::always(Fault::InvalidToken).on(blob.digest().hex()).after(1));
        let raw = RawConnection::get(testbed.client.address(), &path, &[("authorization", &bearer)]).await;
        let received = raw.rest().await;
        testbed.hub.faults().clear();
        assert_eq!((received.status(), received.end), (200, End::Fin));
        assert!(received.body().len() as u64 <= len / 2 && bytes(&blob).starts_with(received.body()));
    }
}

/// A manifest that was never requested, in a repository of its own.
struct Fresh {
    repository: String,
    path: String,
    bearer: String,
    image: Image,
}

impl Fresh {
    /// A public one and a private one of Alice's, each by tag and by digest.
    async fn four(testbed: &Testbed, seed: usize) -> Vec<Self> {
        let image = Image::hello_from(&format!("release {seed}")).unwrap();
        let mut all = Vec::new();
        for (name, reference) in [("tag", "latest"), ("digest", image.digest().as_str())] {
            for owner in ["library", "alice"] {
                let repository = format!("{owner}/{name}-{seed}");
                testbed.hub.store().publish(&repository, "latest", &image);
                let bearer = if owner == "alice" {
                    testbed.hub.store().make_private(&repository, &[ALICE.0]);
                    testbed.engine.logged_in(ALICE.0, ALICE.1, &repository).await
                } else {
                    testbed.engine.anonymous(&repository).await
                };
                let path = format!("/v2/{repository}/manifests/{reference}");
                all.push(Self { repository, path, bearer, image: image.clone() });
            }
        }
        all
    }

    fn arm(&self, testbed: &Testbed, rule: Rule) {
        testbed.hub.faults().arm(rule.on(&format!("{}/manifests/", self.repository)));
    }

    /// The number of pulls that it has cost.
    fn pulls(&self, testbed: &Testbed) -> usize {
        let manifests = format!("{}/manifests/", self.repository);
        testbed.hub.request_log().count(|entry| entry.method == "GET" && entry.path.contains(&manifests))
    }

    async fn get(&self, testbed: &Testbed) -> HttpResponse {
        testbed.engine.get(&self.path, &[("authorization", &self.bearer), ANY]).await
    }

    async fn assert_served(&self, testbed: &Testbed) {
        let response = self.get(testbed).await;
        assert_eq!(response.status, StatusCode::OK, "{}: {response:?}", self.path);
        assert!(response.whole && response.body == self.image.index().bytes, "{}: {response:?}", self.path);
    }
}

const BREAK_OFF: Fault = Fault::BreakOff { site: Site::Registry };

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_manifest_is_retried_once() {
    let testbed = &Testbed::new().await;
    for (seed, cuts, of_unknown_length) in [(1, 1, false), (2, 3, false), (3, 1, true)] {
        join_all(Fresh::four(testbed, seed).await.into_iter().map(async |fresh| {
            fresh.arm(testbed, Rule::times(BREAK_OFF, cuts));
            if of_unknown_length {
                fresh.arm(testbed, Rule::always(Fault::NoLength));
            }
            fresh.assert_served(testbed).await;
            assert_eq!(fresh.pulls(testbed), cuts as usize + 1, "{}", fresh.path);
        }))
        .await;
        assert!(testbed.hub.faults().armed().iter().all(|rule| rule.fault == Fault::NoLength));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_manifest_is_retried() {
    let testbed = &Testbed::new().await;
    join_all(Fresh::four(testbed, 1).await.into_iter().map(async |fresh| {
        fresh.arm(testbed, Rule::once(Fault::FallSilent { site: Site::Registry }));
        fresh.assert_served(testbed).await;
    }))
    .await;
    assert!(testbed.hub.faults().armed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_always_truncated_is_an_error() {
    let testbed = &Testbed::new().await;
    let all = Fresh::four(testbed, 1).await;
    join_all(all.iter().map(async |fresh| {
        fresh.arm(testbed, Rule::always(BREAK_OFF));
        let (status, _, message) = fresh.get(testbed).await.fault("registry");
        assert_eq!(status, 502, "{}", fresh.path);
        assert!(message.contains("was interrupted"), "{message}");
        assert!(fresh.pulls(testbed) <= 4, "the manifest was paid for {} times", fresh.pulls(testbed));
    }))
    .await;
    testbed.hub.faults().clear();
    for fresh in &all {
        fresh.assert_served(testbed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_token_is_retried() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 300_000);
    let truncated_token = || Rule::times(Fault::BreakOff { site: Site::Auth }, 2);
    testbed.hub.faults().arm(truncated_token());
    // With the server's own token.
    assert_complete(&pull(&testbed, &path, &[]).await, &blob);
    assert!(testbed.hub.faults().armed().is_empty());
    testbed.hub.faults().arm(truncated_token());
    testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    assert!(testbed.hub.faults().armed().is_empty());
}
