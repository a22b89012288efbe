//! A client of several servers: bodies use all, one may die, and credentials go to the trusted ones only.

use std::{fs, time::Duration};

use docxy_tests::{
    docxy::{Client, Server, exchanges_ended},
    process::PROCESS_TIMEOUT,
};
use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::{Blob, Hub, Image, PullLimit, PullLimits};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT},
    raw_http::RawConnection,
    relayed_testbed::{MIB, assert_whole, longest_pause},
    testbed::{ALICE, Testbed, client, config, count, hub, invite, server, wait_for_count},
};

const HELLO: &str = "library/hello";

/// A client of two servers, of which the first is trusted and used for small requests.
struct TwoServers {
    testbed: Testbed,
    second: Server,
}

impl TwoServers {
    async fn new(arguments: &[&str]) -> Self {
        let hub = hub().await;
        let config = config(&hub);
        let (first, second) = (server(&config), server(&config));
        Self::with(hub, first, second, arguments)
    }

    fn with(hub: Hub, mut first: Server, mut second: Server, arguments: &[&str]) -> Self {
        let links = [invite(&mut first, "laptop"), invite(&mut second, "laptop")].join("\n");
        let mut client = client(&links, arguments);
        wait_for_count(&mut client, "tunnel/connects", 2);
        let testbed = Testbed { engine: HttpClient::at(client.address()), client, server: first, hub };
        Self { testbed, second }
    }

    fn kill_first(&mut self) {
        block_in_place(|| self.testbed.server.process().kill()).unwrap();
    }
}

/// What `/health` says about each server.
fn servers(client: &Client) -> Vec<Value> {
    let health = block_in_place(|| client.health()).unwrap();
    health["servers"].as_array().unwrap_or_else(|| panic!("{health:#}")).clone()
}

/// The exchanges at a server, without pings, once none is in progress.
fn exchanges(server: &mut Server) -> u64 {
    let is_idle = |status: &Value| status["streams"] == 0 && status["exchanges"] == 0;
    let status = block_in_place(|| server.wait_for_status("end its exchanges", PROCESS_TIMEOUT, is_idle));
    exchanges_ended(&status.unwrap())
}

async fn manifest(engine: HttpClient, tag: &str) -> StatusCode {
    let bearer = engine.anonymous(HELLO).await;
    let path = format!("/v2/{HELLO}/manifests/{tag}");
    engine.get(&path, &[("authorization", &bearer), ANY]).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_every_server() {
    let servers_of = TwoServers::new(&[]).await;
    assert_eq!(manifest(servers_of.testbed.engine, "latest").await, StatusCode::OK);
    let shown = servers(&servers_of.testbed.client);
    let addresses =
        [&servers_of.testbed.server, &servers_of.second].map(|server| server.address().to_string());
    for (n, (server, address)) in shown.iter().zip(&addresses).enumerate() {
        assert_eq!(
            (&server["server"], &server["address"]),
            (&address.as_str().into(), &address.as_str().into())
        );
        assert_eq!((&server["state"], &server["draining"]), (&"up".into(), &false.into()), "{server}");
        assert_eq!(server["trusted"], Value::from(n == 0), "{server}");
        assert!(server["rtt_ms"].is_u64() && server["bytes_received"].is_u64(), "{server}");
    }
    assert_eq!(shown.len(), 2, "one host with two ports");
    // The nearer one: on loopback that is chance.
    assert_eq!(shown.iter().filter(|server| server["in_use"] == true).count(), 1, "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_mid_pull_is_replaced_within_seconds() {
    // At a higher rate, the buffers of a busy machine overflow.
    let mut servers_of = TwoServers::new(&["--congestion", "down=50 Mbit/s"]).await;
    let (blob, path) = servers_of.testbed.with_blob(1, 32 * MIB);
    let engine = servers_of.testbed.engine;
    let bearer = engine.anonymous(HELLO).await;
    let headers = [("authorization", bearer.as_str()), ("connection", "close")];
    let mut raw = RawConnection::get(servers_of.testbed.client.address(), &path, &headers).await;
    raw.read_body(4 * MIB as usize).await;
    let reading = tokio::spawn(async move { longest_pause(raw, &blob).await });
    servers_of.kill_first();
    let longest = reading.await.unwrap();
    println!("the pull stood still for at most {longest:?}");
    // Under 3 s on an idle machine.
    assert!(longest < PROMPT_TIMEOUT, "{longest:?}");
    assert_eq!(count(&servers_of.testbed.client, "transfers/failures"), 0);
    assert_eq!(manifest(engine, "latest").await, StatusCode::OK);
    block_in_place(|| servers_of.testbed.server.start_again()).unwrap();
    let is_back = |health: &Value| health["servers"][0]["state"] == "up";
    let client = &mut servers_of.testbed.client;
    block_in_place(|| client.wait_for_health("connect again", PROCESS_TIMEOUT, is_back)).unwrap();
}

/// What each server has sent after four bodies of 4 MiB at a time.
async fn received_by_four_bodies(servers_of: &TwoServers) -> Vec<u64> {
    const BODIES: u64 = 4;
    let testbed = &servers_of.testbed;
    let bearer = testbed.engine.anonymous(HELLO).await;
    let bodies = (0..BODIES).map(async |n| {
        let (blob, path) = testbed.with_blob(n, 4 * MIB);
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        assert_whole(
            &RawConnection::get(testbed.client.address(), &path, &headers).await.rest().await,
            &blob,
        );
    });
    join_all(bodies).await;
    let servers = servers(&testbed.client);
    assert!(servers.iter().all(|server| server["bodies"] == 0), "{servers:#?}");
    servers.iter().map(|server| server["bytes_received"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_a_pull_use_both_servers() {
    let servers_of = TwoServers::new(&["--congestion", "down=50 Mbit/s"]).await;
    for received in received_by_four_bodies(&servers_of).await {
        assert!((4 * MIB..14 * MIB).contains(&received), "{received}");
    }
}

/// Each server keeps to the rate by itself, so two at a time would send twice as much.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_maximum_rate_one_server_sends_all_bodies() {
    let servers_of = TwoServers::new(&["--max-rate", "down=50 Mbit/s"]).await;
    let mut received = received_by_four_bodies(&servers_of).await;
    received.sort_unstable();
    assert!(received[0] < MIB && received[1] >= 16 * MIB, "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_only_to_trusted_servers() {
    let mut servers_of = TwoServers::new(&[]).await;
    let engine = servers_of.testbed.engine;
    let before = exchanges(&mut servers_of.second);
    let private = async || {
        let bearer = engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
        engine.get("/v2/alice/private/manifests/latest", &[("authorization", &bearer), ANY]).await
    };
    let alices = Image::hello_from("alice").unwrap();
    let bearer = engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for _ in 0..3 {
        assert_eq!(private().await.status, StatusCode::OK);
        for layer in &alices.platform("amd64").unwrap().layers {
            let path = format!("/v2/alice/private/blobs/{}", layer.blob.digest());
            let blobs = [&path, &path, &path];
            let headers = [("authorization", bearer.as_str())];
            for blob in join_all(blobs.map(|path| engine.get(path, &headers))).await {
                assert_eq!(blob.status, StatusCode::OK);
            }
        }
    }
    assert_eq!(exchanges(&mut servers_of.second), before);

    servers_of.kill_first();
    let is_down = |health: &Value| health["servers"][0]["state"] == "down";
    let client = &mut servers_of.testbed.client;
    block_in_place(|| client.wait_for_health("lose a server", PROCESS_TIMEOUT, is_down)).unwrap();
    assert_eq!(manifest(engine, "latest").await, StatusCode::OK);
    // An engine that does not wait for long.
    let agent = ("user-agent", "go-containerregistry/v0.20");
    let headers = [("authorization", bearer.as_str()), ANY, agent];
    let refused = engine.get("/v2/alice/private/manifests/latest", &headers);
    let (status, _, message) = refused.await.fault("tunnel");
    assert_eq!(status, 503);
    assert!(message.contains("docxy-client links trust "), "{message}");
    assert_eq!(exchanges(&mut servers_of.second), before + 1, "the public manifest");

    let links = fs::read_to_string(servers_of.testbed.client.link_file()).unwrap();
    let trusted: Vec<_> = links.lines().map(|line| format!("{line} trusted")).collect();
    fs::write(servers_of.testbed.client.link_file(), trusted.join("\n")).unwrap();
    servers_of.testbed.client.process().signal("HUP").unwrap();
    let is_trusted =
        |health: &Value| health["servers"][1]["trusted"] == true && health["servers"][1]["state"] == "up";
    let client = &mut servers_of.testbed.client;
    block_in_place(|| client.wait_for_health("trust it", PROCESS_TIMEOUT, is_trusted)).unwrap();
    assert_eq!(private().await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pull_limits_of_the_servers_add_up() {
    // The stand-in counts pulls by address, and both servers have the same: each has a registry of its own.
    let (first_hub, second_hub) = (hub().await, hub().await);
    let limit = |pulls| Some(PullLimit { pulls, window: Duration::from_secs(21_600) });
    let set = |hub: &Hub, limit| hub.set_pull_limits(PullLimits { anonymous: limit, account: limit });
    for hub in [&first_hub, &second_hub] {
        set(hub, limit(1));
        for n in 0..5 {
            let image = Image::hello_from(&format!("release {n}")).unwrap();
            hub.store().publish(HELLO, &format!("v{n}"), &image);
        }
    }
    let (first, second) = (server(&config(&first_hub)), server(&config(&second_hub)));
    let servers_of = TwoServers::with(first_hub, first, second, &[]);
    let engine = servers_of.testbed.engine;
    let pull = async |n: u32| manifest(engine, &format!("v{n}")).await;
    let asked = |hub: &Hub| hub.request_log().count(|entry| entry.path.contains("/manifests/v"));
    assert_eq!(pull(0).await, StatusCode::OK);
    // On loopback it is chance which server is nearer.
    let hubs = [&servers_of.testbed.hub, &second_hub];
    let [used, other] = if asked(&second_hub) == 0 { hubs } else { [hubs[1], hubs[0]] };
    set(other, None);
    assert_eq!(pull(1).await, StatusCode::OK);
    assert_eq!(count(&servers_of.testbed.client, "transfers/pulls_of_others"), 1);
    let before = asked(used);
    assert_eq!(pull(2).await, StatusCode::OK);
    assert_eq!(asked(used), before, "a server without pulls is not asked again in vain");
    set(other, limit(0));
    assert_eq!(pull(3).await, StatusCode::TOO_MANY_REQUESTS, "no server has a pull left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_may_name_several_ports() {
    let mut testbed = Testbed::new().await;
    let link = invite(&mut testbed.server, "desktop");
    let port = testbed.server.address().port();
    // UDP port 9 (discard) answers nothing.
    let link = link.replace(&format!(":{port}?"), &format!(":9,{port}?"));
    let desktop = client(&link, &[]);
    assert_eq!(manifest(HttpClient::at(desktop.address()), "latest").await, StatusCode::OK);
    assert_eq!(servers(&desktop)[0]["server"], format!("127.0.0.1:9,{port}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_pull_goes_on_at_a_draining_server_if_no_other_is_trusted() {
    let mut servers_of = TwoServers::new(&[]).await;
    let testbed = &mut servers_of.testbed;
    let blob = Blob::generated(1, 64 * MIB);
    testbed.hub.store().add_blob("alice/private", blob.clone());
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let path = format!("/v2/alice/private/blobs/{}", blob.digest());
    let headers = [("authorization", bearer.as_str()), ("connection", "close")];
    let mut raw = RawConnection::get(testbed.client.address(), &path, &headers).await;
    raw.read_body(2 * MIB as usize).await;
    let before = exchanges(&mut servers_of.second);
    block_in_place(|| testbed.server.process().signal("TERM")).unwrap();
    let drains = |health: &Value| {
        let [first, second] = [0, 1].map(|n| &health["servers"][n]);
        first["draining"] == true && second["in_use"] == true
    };
    block_in_place(|| testbed.client.wait_for_health("use the other", PROCESS_TIMEOUT, drains)).unwrap();
    assert_eq!(manifest(testbed.engine, "latest").await, StatusCode::OK);
    let headers = [("authorization", bearer.as_str()), ANY];
    let private = testbed.engine.get("/v2/alice/private/manifests/latest", &headers).await;
    assert_eq!(private.status, StatusCode::OK);
    assert_whole(&raw.rest().await, &blob);
    assert_eq!(count(&testbed.client, "transfers/failures"), 0);
    assert_eq!(exchanges(&mut servers_of.second), before + 1, "the public manifest");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_servers_are_connected_and_a_spare_one_when_one_fails() {
    let hub = hub().await;
    let config = config(&hub);
    let mut all: Vec<_> = (0..5).map(|_| server(&config)).collect();
    let links: Vec<_> = all.iter_mut().map(|server| invite(server, "laptop")).collect();
    let mut client = client(&links.join("\n"), &[]);
    wait_for_count(&mut client, "tunnel/connects", 4);
    let states = |health: &Value| [0, 1, 2, 3, 4].map(|n| health["servers"][n]["state"].clone());
    let health = block_in_place(|| client.health()).unwrap();
    assert_eq!(states(&health), ["up", "up", "up", "up", "spare"]);
    block_in_place(|| all[1].process().kill()).unwrap();
    let is_replaced = |health: &Value| states(health)[4] == "up" && states(health)[1] != "up";
    block_in_place(|| client.wait_for_health("use the spare", PROCESS_TIMEOUT, is_replaced)).unwrap();
    assert_eq!(manifest(HttpClient::at(client.address()), "latest").await, StatusCode::OK);
}
