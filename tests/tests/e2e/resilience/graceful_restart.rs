//! SIGTERM of the server during pulls: a restart costs a running pull a moment, and its engine notices nothing.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use docxy_protocol::limits::{BULK_WINDOW_MAX, DRAIN_TIMEOUT};
use docxy_tests::{
    docxy::{Client, Server, exchanges_with},
    process::PROCESS_TIMEOUT,
};
use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::{Fault, Hub, Rule, Site};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, PROMPT_TIMEOUT},
    raw_http::RawConnection,
    relayed_testbed::{MIB, RelayedTestbed, assert_whole, begin, longest_pause},
    testbed::{Testbed, client, config, count, hub, invite, server, wait_for_count},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

/// What a restart may count at a client: connects, disconnects, bodies that were interrupted, and that failed.
const COUNTS: [&str; 4] =
    ["tunnel/connects", "tunnel/disconnects", "transfers/interruptions", "transfers/failures"];

/// Within this time a server with `--handover` has ended, as its documentation says.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

async fn with_handover() -> Testbed {
    let hub = hub().await;
    let mut config = config(&hub);
    config.handover = true;
    Testbed::with(hub, &config, &[])
}

/// A client of two servers: the one that it uses, and the other one. On loopback it is chance which one is nearer.
async fn two_servers(handover: bool) -> (Testbed, Server) {
    let hub = hub().await;
    let mut config = config(&hub);
    config.handover = handover;
    let (mut first, mut second) = (server(&config), server(&config));
    let links = [invite(&mut first, "laptop"), invite(&mut second, "laptop")].join("\n");
    let mut client = client(&links, &[]);
    wait_for_count(&mut client, "tunnel/connects", 2);
    let is_first = used_server(&client) == first.address().to_string();
    let (used, other) = if is_first { (first, second) } else { (second, first) };
    (Testbed { engine: HttpClient::at(client.address()), client, server: used, hub }, other)
}

fn used_server(client: &Client) -> Value {
    client.health().unwrap()["server"].clone()
}

fn terminate(server: &mut Server) {
    block_in_place(|| server.process().signal("TERM")).unwrap();
}

/// Terminates a server, and waits until it drains.
fn drain(server: &mut Server) {
    terminate(server);
    let is_draining = |status: &Value| status["draining"] == true;
    block_in_place(|| server.wait_for_status("drain", PROCESS_TIMEOUT, is_draining)).unwrap();
}

/// Waits for the end of a terminated server. Returns the time that it took.
fn assert_ends(server: &mut Server, within: Duration) -> Duration {
    let started = Instant::now();
    let status = block_in_place(|| server.process().wait_until_ended(within)).unwrap();
    assert!(status.success(), "{status}");
    started.elapsed()
}

/// What `systemctl restart` does with a server that has `--handover`.
fn restart(server: &mut Server) {
    terminate(server);
    let took = assert_ends(server, HANDOVER_TIMEOUT);
    block_in_place(|| server.start_again()).unwrap();
    println!("the server ended after {took:?}");
}

fn counts(client: &Client) -> [u64; 4] {
    COUNTS.map(|name| count(client, name))
}

async fn latest(engine: HttpClient) -> HttpResponse {
    manifest(engine, "library/hello").await
}

async fn manifest(engine: HttpClient, repository: &str) -> HttpResponse {
    let bearer = engine.anonymous(repository).await;
    engine.get(&format!("/v2/{repository}/manifests/latest"), &[("authorization", &bearer), ANY]).await
}

async fn wait_for_request(hub: &Hub, path: &str) {
    let started = Instant::now();
    while hub.request_log().count(|entry| entry.path == path) == 0 {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "no request of {path}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_with_the_next_process() {
    let hub = hub().await;
    let mut config = config(&hub);
    config.handover = true;
    // A line of 50 Mbit/s and 200 ms: at a higher rate, the buffers of a busy machine overflow.
    let rate = ["--congestion", "down=50 Mbit/s"];
    let mut relayed = RelayedTestbed::with(hub, &config, Duration::from_millis(100), &rate).await;
    // More than arrives until the server ends, and what is on its way then.
    let (blob, path) = relayed.testbed.with_blob(1, 48 * MIB);
    let before = relayed.relay.bytes_down();
    let raw = begin(&relayed.testbed, &path, 8 * MIB).await;
    let reading = tokio::spawn(async move {
        let longest = longest_pause(raw, &blob).await;
        (blob, longest)
    });
    restart(&mut relayed.testbed.server);
    let (blob, longest) = reading.await.unwrap();
    println!("the pull stood still for at most {longest:?}");
    // Under 2 s on an idle machine.
    assert!(longest < PROMPT_TIMEOUT, "{longest:?}");
    let crossed = relayed.relay.bytes_down() - before;
    let allowed = blob.len() * 106 / 100 + MIB;
    println!("{crossed} bytes crossed for a blob of {}", blob.len());
    assert!(crossed <= allowed, "{crossed} bytes crossed, and {allowed} are allowed");
    assert_eq!(counts(&relayed.testbed.client), [2, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pulls_of_many_clients_go_on_with_the_next_process() {
    const CLIENTS: u64 = 6;
    let mut testbed = with_handover().await;
    let mut others = Vec::new();
    for n in 0..CLIENTS {
        others.push(client(&invite(&mut testbed.server, &format!("client-{n}")), &[]));
    }
    let mut pulls = Vec::new();
    for (n, other) in (0..).zip(&others) {
        let (blob, path) = testbed.with_blob(n, 40 * MIB);
        let bearer = HttpClient::at(other.address()).anonymous("library/hello").await;
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        let mut raw = RawConnection::get(other.address(), &path, &headers).await;
        raw.read_body(MIB as usize).await;
        pulls.push((blob, raw));
    }
    restart(&mut testbed.server);
    join_all(pulls.into_iter().map(async |(blob, raw)| assert_whole(&raw.rest().await, &blob))).await;
    for other in &mut others {
        wait_for_count(other, "tunnel/connects", 2);
        assert_eq!(counts(other), [2, 1, 1, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_response_is_sent_again_to_the_next_process() {
    let mut testbed = with_handover().await;
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on("/manifests/latest"));
    let waiting = tokio::spawn(latest(testbed.engine));
    wait_for_request(&testbed.hub, LATEST).await;
    restart(&mut testbed.server);
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    assert_eq!(counts(&testbed.client), [2, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_back_at_once() {
    let mut testbed = with_handover().await;
    restart(&mut testbed.server);
    let started = Instant::now();
    wait_for_count(&mut testbed.client, "tunnel/connects", 2);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    assert_eq!(counts(&testbed.client), [2, 1, 0, 0]);
    let health = testbed.client.health().unwrap();
    assert!(health.pointer("/since_start/tunnel/last_disconnect/reason").is_some(), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_respond_delays_the_end_by_a_moment_only() {
    let mut testbed = with_handover().await;
    let (blob, path) = testbed.with_blob(1, 16 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    block_in_place(|| testbed.client.process().signal("STOP")).unwrap();
    restart(&mut testbed.server);
    block_in_place(|| testbed.client.process().signal("CONT")).unwrap();
    assert_whole(&raw.rest().await, &blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handover_is_a_flag_too() {
    let hub = hub().await;
    let launch = docxy_tests::docxy::Launch::with(&["--handover"]);
    let started =
        block_in_place(|| Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), &config(&hub)));
    let mut server = started.unwrap();
    let client = client(&invite(&mut server, "laptop"), &[]);
    let mut testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
    let (blob, path) = testbed.with_blob(1, 16 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    restart(&mut testbed.server);
    assert_whole(&raw.rest().await, &blob);
}

/// A server that drains because a body of its only client goes on, and that client's pull.
async fn draining(testbed: &mut Testbed) -> (hub_stand_in::Blob, RawConnection) {
    // More than the client and the engine's socket hold of a body that is not read.
    let (blob, path) = testbed.with_blob(1, BULK_WINDOW_MAX + 64 * MIB);
    let raw = begin(testbed, &path, 2 * MIB).await;
    drain(&mut testbed.server);
    (blob, raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_server_everything_goes_on_during_the_drain() {
    let mut testbed = Testbed::new().await;
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on("/manifests/latest"));
    let waiting = tokio::spawn(latest(testbed.engine));
    wait_for_request(&testbed.hub, LATEST).await;
    let (blob, raw) = draining(&mut testbed).await;
    let started = Instant::now();
    assert_eq!(testbed.engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(manifest(testbed.engine, "library/other").await.status, StatusCode::OK);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    assert_eq!(testbed.client.health().unwrap()["tunnel"], "up");
    testbed.hub.faults().release();
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    assert_whole(&raw.rest().await, &blob);
    // Nothing runs any more.
    assert_ends(&mut testbed.server, PROMPT_TIMEOUT);
    assert_eq!(counts(&testbed.client), [1, 1, 0, 0]);
    block_in_place(|| testbed.server.start_again()).unwrap();
    assert_eq!(latest(testbed.engine).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_served_while_the_server_drains_for_another_one() {
    let mut testbed = Testbed::new().await;
    let idle = client(&invite(&mut testbed.server, "idle"), &[]);
    let (blob, raw) = draining(&mut testbed).await;
    // An engine that pulls now and then.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let started = Instant::now();
        assert_eq!(manifest(HttpClient::at(idle.address()), "library/other").await.status, StatusCode::OK);
        assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    }
    assert_eq!(count(&idle, "tunnel/disconnects"), 0);
    assert_whole(&raw.rest().await, &blob);
    assert_ends(&mut testbed.server, PROMPT_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_at_the_end_of_the_drain_is_handed_back() {
    let mut testbed = Testbed::new().await;
    let (blob, raw) = draining(&mut testbed).await;
    // The engine does not read.
    let took = assert_ends(&mut testbed.server, 2 * DRAIN_TIMEOUT);
    assert!(took > DRAIN_TIMEOUT / 2, "{took:?}");
    block_in_place(|| testbed.server.start_again()).unwrap();
    assert_whole(&raw.rest().await, &blob);
    assert_eq!(counts(&testbed.client), [2, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_moves_to_its_other_server_at_once() {
    // Which server is nearer may change between two requests: they must be with the same one.
    let (mut testbed, mut second, blob, raw, waiting) = loop {
        let (mut testbed, second) = two_servers(false).await;
        let (blob, path) = testbed.with_blob(1, 64 * MIB);
        let raw = begin(&testbed, &path, 2 * MIB).await;
        testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on("/manifests/latest"));
        let waiting = tokio::spawn(latest(testbed.engine));
        wait_for_request(&testbed.hub, LATEST).await;
        if block_in_place(|| testbed.server.status()).unwrap()["exchanges"] == 2 {
            break (testbed, second, blob, raw, waiting);
        }
        waiting.abort();
    };

    terminate(&mut testbed.server);
    // Its clients are gone, although the engine has not read the body.
    assert_ends(&mut testbed.server, PROMPT_TIMEOUT);
    assert_eq!(used_server(&testbed.client), second.address().to_string());
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    assert_whole(&raw.rest().await, &blob);
    let has_answered = |status: &Value| exchanges_with(status, "answered") > 1;
    block_in_place(|| second.wait_for_status("respond", PROCESS_TIMEOUT, has_answered)).unwrap();
    assert_eq!(counts(&testbed.client)[2..], [1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_moves_to_the_other_server() {
    let (mut testbed, second) = two_servers(true).await;
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    terminate(&mut testbed.server);
    assert_ends(&mut testbed.server, HANDOVER_TIMEOUT);
    let started = Instant::now();
    let has_moved = |health: &Value| health["server"] == second.address().to_string();
    block_in_place(|| testbed.client.wait_for_health("move", PROCESS_TIMEOUT, has_moved)).unwrap();
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    assert_whole(&raw.rest().await, &blob);
    assert_eq!(counts(&testbed.client), [2, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_other_server_is_down_stays_during_the_drain() {
    let (mut testbed, mut second) = two_servers(false).await;
    block_in_place(|| second.stop()).unwrap();
    let (blob, raw) = draining(&mut testbed).await;
    assert_eq!(latest(testbed.engine).await.status, StatusCode::OK);
    assert_whole(&raw.rest().await, &blob);
    assert_eq!(count(&testbed.client, "transfers/interruptions"), 0);
    assert_ends(&mut testbed.server, 2 * PROMPT_TIMEOUT);
}

/// Lets a client with one link hold its server in the drain, by a body that its engine does not read. Returns the links
/// of the testbed's former client too.
async fn held_by_a_client_with_one_link(
    testbed: &mut Testbed,
) -> (String, hub_stand_in::Blob, RawConnection) {
    let links = std::fs::read_to_string(testbed.client.link_file()).unwrap();
    testbed.client = client(&invite(&mut testbed.server, "alone"), &[]);
    testbed.engine = HttpClient::at(testbed.client.address());
    let (blob, raw) = draining(testbed).await;
    (links, blob, raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_leaves_a_draining_server_for_another_one() {
    let (mut testbed, second) = two_servers(false).await;
    let (links, blob, raw) = held_by_a_client_with_one_link(&mut testbed).await;
    let started = Instant::now();
    let mut newcomer = client(&links, &[]);
    let has_left = |health: &Value| health["server"] == second.address().to_string();
    block_in_place(|| newcomer.wait_for_health("leave", PROCESS_TIMEOUT, has_left)).unwrap();
    wait_for_count(&mut newcomer, "tunnel/connects", 2);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    assert_eq!(latest(HttpClient::at(newcomer.address())).await.status, StatusCode::OK);
    assert_eq!(counts(&newcomer), [2, 0, 0, 0]);
    assert_whole(&raw.rest().await, &blob);
    assert_ends(&mut testbed.server, PROMPT_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_with_one_link_pulls_during_the_drain() {
    let mut testbed = Testbed::new().await;
    let alone = invite(&mut testbed.server, "alone");
    let (blob, raw) = draining(&mut testbed).await;
    let started = Instant::now();
    let mut newcomer = client(&alone, &[]);
    let engine = HttpClient::at(newcomer.address());
    assert_eq!(latest(engine).await.status, StatusCode::OK);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    let (pulled, path) = testbed.with_blob(2, 16 * MIB);
    let bearer = engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ("connection", "close")];
    let pull = RawConnection::get(newcomer.address(), &path, &headers).await;
    assert_whole(&pull.rest().await, &pulled);
    // It has not dialed again, and it does not hold the server when it is idle.
    assert_eq!(counts(&newcomer), [1, 0, 0, 0]);
    assert_whole(&raw.rest().await, &blob);
    assert_ends(&mut testbed.server, PROMPT_TIMEOUT);
    block_in_place(|| testbed.server.start_again()).unwrap();
    wait_for_count(&mut newcomer, "tunnel/connects", 2);
    assert_eq!(latest(engine).await.status, StatusCode::OK);
    assert_eq!(counts(&newcomer), [2, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_move_back_and_forth_between_servers_that_drain() {
    let (mut testbed, mut second) = two_servers(false).await;
    let (links, blob, raw) = held_by_a_client_with_one_link(&mut testbed).await;
    let mut newcomer = client(&links, &[]);
    wait_for_count(&mut newcomer, "tunnel/connects", 2);
    let (pulled, path) = testbed.with_blob(2, 64 * MIB);
    let bearer = HttpClient::at(newcomer.address()).anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ("connection", "close")];
    let mut pull = RawConnection::get(newcomer.address(), &path, &headers).await;
    pull.read_body(2 * MIB as usize).await;
    drain(&mut second);
    assert_eq!(latest(HttpClient::at(newcomer.address())).await.status, StatusCode::OK);
    // The second server is held by this pull, whose engine has not read on. Both drain, so the first may be dialed again.
    let [connects, others @ ..] = counts(&newcomer);
    assert!(connects <= 3 && others == [0, 0, 0], "{connects} {others:?}");
    assert_whole(&pull.rest().await, &pulled);
    assert_whole(&raw.rest().await, &blob);
}
