//! Conditions and ranges belong to one engine's request: the registry evaluates them for that engine alone, though many
//! requests share the server's fetches.

use std::sync::{Arc, Mutex};

use docxy_tests::process::PROCESS_TIMEOUT;
use futures_util::future::FutureExt as _;
use http::StatusCode;
use hub_stand_in::{Image, Manifest};
use serde_json::Value;
use tokio::{sync::watch, task::block_in_place, time::timeout};

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, REQUEST_TIMEOUT},
    scripted_registry::{NAME, RegistryRequest, ScriptedRegistry, reply},
    testbed::{client, hello, invite},
};

/// An engine whose `HEAD` of a tag makes the server prefetch the image's parts.
const DOCKERD: (&str, &str) = ("user-agent", "docker/29.0.1 go/go1.25.4 kernel/6.1 os/linux arch/amd64");

const EARLY: &str = "Mon, 01 Jun 2026 00:00:00 GMT";
const BETWEEN: &str = "Wed, 01 Jul 2026 00:00:00 GMT";
const LATE_DATE: &str = "Sat, 01 Aug 2026 00:00:00 GMT";

/// One or two header fields with which a tag's `HEAD` is 200, and one of the image's manifests is not.
struct Case {
    name: &'static str,
    fields: Vec<(&'static str, String)>,
    /// The manifest that the condition matches.
    manifest: Manifest,
    /// The registry's status for a `GET` of it.
    status: StatusCode,
}

fn etag(manifest: &Manifest) -> String {
    format!("\"{}\"", manifest.digest)
}

fn cases() -> Vec<Case> {
    let image = hello();
    let index = image.index().clone();
    let part = platform(&image);
    let range = || ("range", "bytes=0-9".to_owned());
    let case =
        |name, fields, manifest: &Manifest, status| Case { name, fields, manifest: manifest.clone(), status };
    let (partial, failed) = (StatusCode::PARTIAL_CONTENT, StatusCode::PRECONDITION_FAILED);
    let unmodified = StatusCode::NOT_MODIFIED;
    vec![
        case("range", vec![range()], &index, partial),
        case("if-range", vec![range(), ("if-range", etag(&index))], &index, partial),
        case("if-match", vec![("if-match", etag(&index))], &part, failed),
        case("if-none-match", vec![("if-none-match", etag(&part))], &part, unmodified),
        // It matches the index only, which is newer.
        case("if-modified-since", vec![("if-modified-since", BETWEEN.to_owned())], &part, unmodified),
        case("if-unmodified-since", vec![("if-unmodified-since", BETWEEN.to_owned())], &part, failed),
    ]
}

/// The manifest of this machine's platform.
fn platform(image: &Image) -> Manifest {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    image.platform(architecture).unwrap().manifest.clone()
}

/// A registry that evaluates every condition (RFC 9110, section 13.2), and can hold a response.
struct Registry {
    scripted: ScriptedRegistry,
    /// The path whose `GET` waits.
    held_path: Arc<watch::Sender<String>>,
    requests: Arc<Mutex<Vec<String>>>,
    request_count: watch::Receiver<usize>,
}

impl Registry {
    async fn new() -> Self {
        let held_path = Arc::new(watch::Sender::new(String::new()));
        let (count, request_count) = watch::channel(0);
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (gate, log) = (held_path.clone(), requests.clone());
        let response = move |request: RegistryRequest| {
            let mut held_path = gate.subscribe();
            let is_held = request.method == "GET" && request.path == *held_path.borrow_and_update();
            let mut requests = log.lock().unwrap();
            requests.push(format!("{} {}", request.method, request.path));
            let arrived = requests.len();
            // Who waits for the count locks the requests, too.
            drop(requests);
            count.send_replace(arrived);
            async move {
                if is_held {
                    let _ = held_path.wait_for(|path| *path != request.path).await;
                }
                response(&request)
            }
            .boxed()
        };
        let scripted = ScriptedRegistry::serving("", |_| {}, response).await;
        Self { scripted, held_path, requests, request_count }
    }

    /// Waits for a request for this path.
    async fn wait_for_request(&mut self, line: &str) {
        let requests = self.requests.clone();
        let has_arrived =
            self.request_count.wait_for(|_| requests.lock().unwrap().iter().any(|request| request == line));
        timeout(REQUEST_TIMEOUT, has_arrived)
            .await
            .unwrap_or_else(|_| panic!("{line}: {requests:?}"))
            .unwrap();
    }
}

fn response(request: &RegistryRequest) -> Vec<u8> {
    let image = hello();
    let (index, part) = (image.index(), platform(&image));
    let mut parts = request.path.split('/').skip(2);
    let (repository, kind, reference) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let manifest = match (kind, reference) {
        (None, _) => return reply("200 OK", "Content-Length: 2\r\n", "{}"),
        (Some("manifests"), "latest") => index,
        (Some("manifests"), digest) if digest == index.digest.as_str() => index,
        (Some("manifests"), digest) if digest == part.digest.as_str() => &part,
        _ => return reply("404 Not Found", "Content-Length: 0\r\n", ""),
    };
    let index_is_newer = repository == Some("if-modified-since");
    let modified = if (manifest.digest == index.digest) == index_is_newer { LATE_DATE } else { EARLY };
    let bytes = &manifest.bytes[..];
    let mut head = format!(
        "Content-Type: {}\r\nDocker-Content-Digest: {}\r\nETag: {}\r\nLast-Modified: {modified}\r\n",
        manifest.media_type,
        manifest.digest,
        etag(manifest)
    );
    let is = |name: &str, expected: &str| request.header(name).is_some_and(|value| value == expected);
    // Dates before and after the compared one.
    let is_later_than_asked = |name: &str| request.header(name).is_some() && modified == LATE_DATE;
    let failed = request.header("if-match").is_some() && !is("if-match", &etag(manifest));
    if failed || is_later_than_asked("if-unmodified-since") {
        return reply("412 Precondition Failed", "Content-Length: 0\r\n", "");
    }
    let unmodified = request.header("if-modified-since").is_some() && modified == EARLY;
    if is("if-none-match", &etag(manifest)) || unmodified {
        return reply("304 Not Modified", &head, "");
    }
    let has_changed = request.header("if-range").is_some() && !is("if-range", &etag(manifest));
    let (status, body) = match request.header("range") {
        Some("bytes=0-9") if request.method == "GET" && !has_changed => {
            head += &format!("Content-Range: bytes 0-9/{}\r\n", bytes.len());
            ("206 Partial Content", &bytes[..10])
        }
        _ => ("200 OK", bytes),
    };
    head += &format!("Content-Length: {}\r\n", body.len());
    reply(status, &head, if request.method == "HEAD" { &[][..] } else { body })
}

fn path(case: &Case, reference: &str) -> String {
    format!("/v2/{NAME}/{}/manifests/{reference}", case.name)
}

/// The first engine's headers: it is about to pull, and has a condition.
fn fields<'a>(case: &'a Case, bearer: &'a str) -> Vec<(&'a str, &'a str)> {
    let own = case.fields.iter().map(|(name, value)| (*name, value.as_str()));
    [("authorization", bearer), DOCKERD, ANY].into_iter().chain(own).collect()
}

fn assert_whole(case: &Case, response: &HttpResponse) {
    assert_eq!(response.status, StatusCode::OK, "{}: {response:?}", case.name);
    assert!(response.whole && response.body == case.manifest.bytes, "{}", case.name);
    assert_eq!(response.header("docker-content-digest"), case.manifest.digest.as_str(), "{}", case.name);
    assert_eq!(response.header("content-length"), case.manifest.bytes.len().to_string(), "{}", case.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_fetch_ignores_another_engines_condition() {
    let mut registry = Registry::new().await;
    let link = invite(&mut registry.scripted.testbed.server, "second");
    let mut second_client = client(&link, &[]);
    let (first, second) = (registry.scripted.testbed.engine, HttpClient::at(second_client.address()));
    let bearer = first.anonymous("library/hello").await;
    let mut responses = Vec::new();
    for case in cases() {
        let digest = case.manifest.digest.as_str();
        let upstream = format!("/v2/{}/manifests/{digest}", case.name);
        registry.held_path.send_replace(upstream.clone());
        // The response does not wait for the prefetch, which is delayed.
        let head = first.head(&path(&case, "latest"), &fields(&case, &bearer)).await;
        assert_eq!(head.status, StatusCode::OK, "{}", case.name);
        registry.wait_for_request(&format!("GET {upstream}")).await;
        let (second_path, token) = (path(&case, digest), bearer.clone());
        let waiting =
            tokio::spawn(async move { second.get(&second_path, &[("authorization", &token), ANY]).await });
        // The response to a later request on the same connection proves that the server has this one.
        let is_sent = |health: &Value| health["requests"] != 0;
        block_in_place(|| second_client.wait_for_health("send its request", PROCESS_TIMEOUT, is_sent))
            .unwrap();
        second.get(&format!("/v2/?ns={NAME}"), &[]).await;
        registry.held_path.send_replace(String::new());
        responses.push((case, waiting.await.unwrap()));
    }
    let not_whole = responses.iter().filter(|(_, response)| response.status != StatusCode::OK);
    let not_whole: Vec<_> = not_whole.map(|(case, response)| (case.name, response.status.as_u16())).collect();
    assert_eq!(not_whole, []);
    for (case, response) in &responses {
        assert_whole(case, response);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_response_is_not_cached() {
    let registry = Registry::new().await;
    let engine = registry.scripted.testbed.engine;
    let bearer = engine.anonymous("library/hello").await;
    let plain = [("authorization", bearer.as_str()), ANY];
    for case in cases() {
        let digest = case.manifest.digest.as_str();
        for _ in ["before it is cached", "afterwards"] {
            let response = engine.get(&path(&case, digest), &fields(&case, &bearer)).await;
            assert_eq!(response.status, case.status, "{}: {response:?}", case.name);
            if case.status == StatusCode::PARTIAL_CONTENT {
                assert_eq!(response.body, case.manifest.bytes[..10], "{}", case.name);
            }
            assert_whole(&case, &engine.get(&path(&case, digest), &plain).await);
        }
        // The same by tag, where the server prefetches all.
        assert_eq!(engine.head(&path(&case, "latest"), &fields(&case, &bearer)).await.status, StatusCode::OK);
        assert_whole(&case, &engine.get(&path(&case, digest), &plain).await);
    }
}
