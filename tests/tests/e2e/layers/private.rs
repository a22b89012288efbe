//! Who may see what is kept: all engines what a request without a credential got, and the rest only those engines to
//! which its registry shows it now.

use std::io::Write as _;

use futures_util::future::FutureExt as _;
use http::StatusCode;
use hub_stand_in::Blob;
use tokio::task::block_in_place;

use super::{KEEPING, MIB, crossed, is_on_disk};
use crate::support::{
    http_client::{HttpClient, HttpResponse},
    scripted_registry::{NAME, RegistryRequest, ScriptedRegistry, reply},
    testbed::{ALICE, BOB, Testbed, bytes, client, count, invite},
};

/// A registry that claims to have every blob, of this length, for everybody.
async fn claiming_registry(length: u64) -> ScriptedRegistry {
    let respond = move |request: RegistryRequest| {
        let body = if request.method == "HEAD" { Vec::new() } else { vec![0; length as usize] };
        let bytes = match request.path.as_str() {
            "/v2/" => reply("200 OK", "Content-Length: 2\r\n", "{}"),
            _ => reply("200 OK", &format!("Content-Length: {length}\r\n"), body),
        };
        std::future::ready(bytes).boxed()
    };
    ScriptedRegistry::serving("", |_| {}, respond).await
}

/// Replaces the client by one with these arguments.
fn with_client(testbed: &mut Testbed, arguments: &[&str]) {
    testbed.client = client(&invite(&mut testbed.server, "keeper"), arguments);
    testbed.engine = HttpClient::at(testbed.client.address());
}

/// The same for one that keeps layers, and has this line in its config file.
fn with_setting(testbed: &mut Testbed, line: &str) {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(line.as_bytes()).unwrap();
    with_client(testbed, &[&KEEPING[..], &["--config", config.path().to_str().unwrap()]].concat());
}

fn add_private_blob(testbed: &Testbed, seed: u64) -> (Blob, String) {
    let blob = Blob::generated(seed, 2 * MIB);
    testbed.hub.store().add_blob("alice/private", blob.clone());
    let path = format!("/v2/alice/private/blobs/{}", blob.digest());
    (blob, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn private_layers_are_not_on_the_disk() {
    let mut testbed = Testbed::new().await;
    with_client(&mut testbed, &KEEPING);
    let (blob, path) = add_private_blob(&testbed, 1);
    let content = bytes(&blob);
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for n in 1..=2 {
        let response = testbed.engine.get(&path, &[("authorization", &alice)]).await;
        assert!(response.whole && response.body == content);
        assert!(crossed(&testbed) >= n * blob.len());
    }
    assert_eq!(testbed.engine.get(&path, &[]).await.status, StatusCode::UNAUTHORIZED);
    block_in_place(|| testbed.client.stop()).unwrap();
    assert!(!is_on_disk(&testbed.client.cache(), &content[MIB as usize..MIB as usize + 64]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_layer_is_served_after_its_registry_has_shown_it() {
    let mut claiming = claiming_registry(2 * MIB).await;
    let testbed = &mut claiming.testbed;
    with_setting(testbed, "cache_private = true");
    let (blob, path) = add_private_blob(testbed, 2);
    let content = bytes(&blob);
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let bob = testbed.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    let get = async |path: &str, bearer: Option<&str>| -> HttpResponse {
        let headers: Vec<_> = bearer.map(|bearer| ("authorization", bearer)).into_iter().collect();
        testbed.engine.get(path, &headers).await
    };
    // The other registry claims it first, so that what Alice brings could be taken for public.
    let elsewhere = format!("/v2/{NAME}/any/thing/blobs/{}", blob.digest());
    assert!(!get(&elsewhere, None).await.whole, "it has another digest");
    assert_eq!(testbed.engine.head(&elsewhere, &[]).await.status, StatusCode::OK);
    for _ in 0..2 {
        let response = get(&path, Some(&alice)).await;
        assert!(response.whole && response.body == content);
    }
    assert!(count(&testbed.client, "transfers/bytes_from_disk") >= blob.len());
    let crossed_before = crossed(testbed);
    for bearer in [None, Some(bob.as_str())] {
        let refused = get(&path, bearer).await;
        assert!(refused.status.is_client_error() && refused.body.len() < 1000, "{:?}", refused.status);
    }
    let other_repository = path.replace("alice/private", "library/hello");
    assert!(get(&other_repository, None).await.status.is_client_error());
    let claimed = get(&elsewhere, None).await;
    assert!(!claimed.whole && !claimed.body.iter().any(|byte| *byte != 0), "not Alice's bytes");
    assert!(crossed(testbed) - crossed_before <= 3 * MIB);
    testbed.hub.tokens().revoke_all();
    assert!(get(&path, Some(&alice)).await.status.is_client_error(), "her token is no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_public_is_proven_again() {
    let mut testbed = Testbed::new().await;
    with_setting(&mut testbed, "public_for = 0");
    let (blob, path) = testbed.with_blob(3, 2 * MIB);
    for _ in 0..2 {
        let response = testbed.engine.get(&path, &[]).await;
        assert!(response.whole && response.body == bytes(&blob));
        assert_eq!(crossed(&testbed), blob.len());
    }
    testbed.hub.store().make_private("library/hello", &[ALICE.0]);
    testbed.hub.tokens().revoke_all();
    assert_eq!(testbed.engine.get(&path, &[]).await.status, StatusCode::UNAUTHORIZED);
}
