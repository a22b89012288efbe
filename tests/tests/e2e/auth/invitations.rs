//! Clients are invited, authenticated and revoked, and their usage is listed.

use std::time::Instant;

use docxy_protocol::control::CloseCode;
use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
};
use http::StatusCode;
use hub_stand_in::{Fault, Rule};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT, REVOCATION_TIMEOUT},
    raw_http::{End, RawConnection},
    testbed::{Testbed, client, config, count, hub, invite, server, wait_for_count},
};

/// The error of a client without a tunnel, which must come at once.
async fn refusal(client: &Client) -> String {
    let started = Instant::now();
    let response = HttpClient::at(client.address()).get("/v2/", &[]).await;
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    let (status, code, message) = response.fault("tunnel");
    assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"));
    message
}

/// A client whose link the server refuses, once `/health` shows this state and this reason.
fn refused_client(link: &str, state: &str, reason: &str) -> Client {
    let has_failed = |health: &Value| {
        health["tunnel"] == state && health["reason"].as_str().is_some_and(|text| text.contains(reason))
    };
    block_in_place(|| {
        let mut client = Client::start(None, link).unwrap();
        client.wait_for_health("fail to connect", PROCESS_TIMEOUT, has_failed).unwrap();
        client
    })
}

/// The text between two others.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_is_disconnected_at_once() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 5 << 20);
    testbed.hub.faults().arm(Rule::once(Fault::StallAt { byte: 3 << 20 }));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let mut raw = RawConnection::get(testbed.client.address(), &path, &[("authorization", &bearer)]).await;
    raw.read_body(2 << 20).await;
    block_in_place(|| {
        testbed.server.revoke("laptop").unwrap();
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        testbed.client.wait_for_health("be refused", REVOCATION_TIMEOUT, is_refused).unwrap();
    });
    let received = raw.rest().await;
    assert!((received.body().len() as u64) < blob.len() && received.end == End::Fin);
    assert!(refusal(&testbed.client).await.contains("revoked"));
    let health = testbed.engine.get("/health", &[]).await;
    assert_eq!(
        (health.status, &health.json()["tunnel"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"refused".into())
    );
    assert!(health.json()["reason"].as_str().unwrap().contains("revoked"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_invitation_makes_a_new_link() {
    let mut testbed = Testbed::new().await;
    let old = invite(&mut testbed.server, "phone");
    block_in_place(|| testbed.server.revoke("phone")).unwrap();
    let new = invite(&mut testbed.server, "phone");
    let phone = client(&new, &[]);
    assert_eq!(HttpClient::at(phone.address()).get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
    refused_client(&old, "refused", CloseCode::UnknownClient.reason());
    assert_eq!(testbed.engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_refused() {
    let mut testbed = Testbed::new().await;
    let link = invite(&mut testbed.server, "phone");
    let secret = between(&link, "phone:", "@");
    for wrong in [link.replace("phone:", "telephone:"), link.replace(secret, &"A".repeat(secret.len()))] {
        let why = CloseCode::UnknownClient.reason();
        let client = refused_client(&wrong, "refused", why);
        assert!(refusal(&client).await.contains(why));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_not_trusted() {
    let mut testbed = Testbed::new().await;
    let link = invite(&mut testbed.server, "phone");
    let pin = link.split_once("pin=").unwrap().1;
    let client = refused_client(&link.replace(pin, &"A".repeat(pin.len())), "refused", "pin");
    let message = refusal(&client).await;
    assert!(message.contains("pin"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_needs_no_restart() {
    let mut testbed = Testbed::new().await;
    let second = client(&invite(&mut testbed.server, "second"), &[]);
    for engine in [testbed.engine, HttpClient::at(second.address())] {
        let bearer = engine.anonymous("library/hello").await;
        let path = "/v2/library/hello/manifests/latest";
        let response = engine.get(path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status, StatusCode::OK);
    }
}

/// The client's row in `docxy-server clients`.
fn row(server: &Server, name: &str) -> Value {
    let listed = block_in_place(|| server.command(&["clients", "--json"])).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&listed).unwrap();
    rows.into_iter().find(|row| row["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_listed_and_survives_a_restart() {
    let mut testbed = Testbed::new().await;
    invite(&mut testbed.server, "never-came");
    assert_eq!(row(&testbed.server, "laptop")["state"], "active");
    let mut sent = 0;
    for seed in 1..=2 {
        let len = 2_000_000 * seed;
        let (_, path) = testbed.with_blob(seed, len);
        let bearer = testbed.engine.anonymous("library/hello").await;
        let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
        assert!(response.whole && response.body.len() as u64 == len);
        block_in_place(|| testbed.server.stop()).unwrap();
        let row = row(&testbed.server, "laptop");
        let (now, received) = (row["sent"].as_u64().unwrap(), row["received"].as_u64().unwrap());
        assert!(now >= sent + len && now < sent + 2 * len, "{row}");
        assert!(received > 0 && row["last_seen"].is_string() && row["since"].is_string(), "{row}");
        sent = now;
        block_in_place(|| testbed.server.start_again()).unwrap();
    }
    assert_eq!(row(&testbed.server, "never-came")["last_seen"], Value::Null);
    block_in_place(|| testbed.server.revoke("laptop")).unwrap();
    assert_eq!(row(&testbed.server, "laptop")["state"], "revoked");
    // Invited again, it is another client.
    let _again = client(&invite(&mut testbed.server, "laptop"), &[]);
    let new = row(&testbed.server, "laptop");
    assert!(new["sent"].as_u64().unwrap() < sent && new["connections"] == 1, "{new}");
    assert_eq!(row(&testbed.server, "never-came")["connections"], 0);
    block_in_place(|| testbed.server.revoke("laptop")).unwrap();
    block_in_place(|| testbed.server.stop()).unwrap();
    assert_eq!(row(&testbed.server, "laptop")["connections"], Value::Null, "no server tells");
    let table = block_in_place(|| testbed.server.command(&["clients"])).unwrap();
    let line = table.lines().find(|line| line.starts_with("laptop")).unwrap();
    assert!(line.contains("KiB") && line.contains("revoked"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ninth_connection_with_one_link_closes_the_first() {
    let hub = hub().await;
    let mut server = server(&config(&hub));
    let shared = invite(&mut server, "shared");
    let other = client(&invite(&mut server, "other"), &[]);
    let mut first = client(&shared, &[]);
    let _seven: Vec<_> = (0..7).map(|_| client(&shared, &[])).collect();
    assert_eq!(count(&first, "tunnel/disconnects"), 0, "eight are allowed");
    let _ninth = client(&shared, &[]);
    wait_for_count(&mut first, "tunnel/disconnects", 1);
    let health = block_in_place(|| first.health()).unwrap();
    let reason = health["since_start"]["tunnel"]["last_disconnect"]["reason"].as_str().unwrap();
    assert_eq!(reason, CloseCode::TooManyConnections.reason());
    assert_eq!(count(&other, "tunnel/disconnects"), 0);
}
