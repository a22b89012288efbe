//! `SIGHUP` to a server: which settings change while it runs. An invalid file changes nothing, and pulls continue.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Launch, Server, ServerConfig},
    process::PROCESS_TIMEOUT,
};
use http::StatusCode;
use hub_stand_in::{Authority, Digest, Hub, HubConfig, Image, Names, PullLimit, PullLimits, Site, Store};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse},
    raw_http::{End, RawConnection},
    testbed::{Testbed, add, client, config, hello, hub, invite, settled_output_size, test_store},
    two_registries::OTHER,
};

/// The length of a body that does not end while the test does not read it.
const LARGE_BLOB: u64 = 64 << 20;

/// Requests a tag list of a registry, which is never cached.
async fn list(engine: HttpClient, registry: &str, repository: &str) -> HttpResponse {
    let name =
        if registry == "docker.io" { repository.to_owned() } else { format!("{registry}/{repository}") };
    let bearer = engine.anonymous(&name).await;
    engine.get(&format!("/v2/{name}/tags/list"), &[("authorization", &bearer)]).await
}

/// Waits for a response with this status.
async fn wait_for_status(status: StatusCode, mut send: impl AsyncFnMut() -> HttpResponse) -> HttpResponse {
    let started = Instant::now();
    loop {
        let response = send().await;
        if response.status == status {
            return response;
        }
        assert!(started.elapsed() < PROCESS_TIMEOUT, "the response is still {response:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Another registry, with `owner/image`.
async fn other() -> Hub {
    let store = Store::default();
    store.publish("owner/image", "latest", &Image::hello_from("elsewhere").unwrap());
    let names = Names {
        registry: OTHER.into(),
        auth: format!("auth.{OTHER}"),
        cdn: format!("cdn.{OTHER}"),
        service: "container_registry".into(),
    };
    Hub::start(HubConfig { store, names, ..HubConfig::default() }).await.unwrap()
}

/// Docker Hub alone, and both registries.
fn configs(hub: &Hub, other: &Hub) -> (ServerConfig, ServerConfig) {
    let alone = config(hub);
    let mut both = alone.clone();
    add(&mut both, OTHER, other);
    (alone, both)
}

/// The peers of requests to a registry's API. Requests on one connection have the same peer.
fn connections(hub: &Hub) -> BTreeSet<std::net::SocketAddr> {
    hub.request_log().of(Site::Registry).into_iter().map(|entry| entry.peer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_can_be_added() {
    let (hub, other) = (hub().await, other().await);
    let (alone, both) = configs(&hub, &other);
    let mut testbed = Testbed::with(hub, &alone, &[]);
    let engine = testbed.engine;
    assert_eq!(list(engine, OTHER, "owner/image").await.status, StatusCode::FORBIDDEN);
    assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    let tokens = testbed.hub.request_log().of(Site::Auth).len();
    let before = connections(&testbed.hub);

    testbed.server.reload(&both).unwrap();
    wait_for_status(StatusCode::OK, async || list(engine, OTHER, "owner/image").await).await;
    assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    assert_eq!(connections(&testbed.hub), before, "a new connection was made");
    assert_eq!(testbed.hub.request_log().of(Site::Auth).len(), tokens, "a new token was fetched");

    let denied = format!("deny = ['{OTHER}/owner/*']\n{}", both.to_toml().unwrap());
    testbed.server.reload_text(&denied).unwrap();
    let refused =
        wait_for_status(StatusCode::FORBIDDEN, async || list(engine, OTHER, "owner/image").await).await;
    assert!(refused.fault("docxy server").2.contains(&format!("does not allow {OTHER}/owner/image")));
    assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_can_be_removed_during_a_pull() {
    let (hub, other) = (hub().await, other().await);
    let (alone, both) = configs(&hub, &other);
    let mut testbed = Testbed::with(hub, &both, &[]);
    let engine = testbed.engine;
    let blob = hub_stand_in::Blob::generated(1, LARGE_BLOB);
    other.store().add_blob("owner/image", blob.clone());
    let bearer = engine.anonymous(&format!("{OTHER}/owner/image")).await;
    let path = format!("/v2/{OTHER}/owner/image/blobs/{}", blob.digest());
    let headers = [("authorization", bearer.as_str()), ("connection", "close")];
    let mut transfer = RawConnection::get(engine.address(), &path, &headers).await;
    transfer.read_body(1 << 20).await;

    testbed.server.reload(&alone).unwrap();
    let refused =
        wait_for_status(StatusCode::FORBIDDEN, async || list(engine, OTHER, "owner/image").await).await;
    assert!(refused.fault("docxy server").2.contains(OTHER));
    assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    let received = transfer.rest().await;
    assert_eq!((received.body().len() as u64, received.end), (LARGE_BLOB, End::Fin));
    assert_eq!(Digest::of(received.body()), *blob.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing() {
    let (hub, other) = (hub().await, other().await);
    let (alone, both) = configs(&hub, &other);
    let mut testbed = Testbed::with(hub, &alone, &[]);
    let engine = testbed.engine;
    let good = both.to_toml().unwrap();
    let no_ca = good.replace("ca = ", "ca = \"/nonexistent\" # ");
    let no_password = format!(
        "{good}\n[registries.\"third.example\"]\naccount = {{ user = 'me', password_file = 'gone' }}"
    );
    for wrong in [
        format!("oops = [\n{good}"),
        format!("unknown = 1\n{good}"),
        format!("log = 'loud'\n{good}"),
        format!("fixed_rate_limit = 'fast'\n{good}"),
        format!("{good}\n'nobody.example' = 'nowhere'"),
        no_ca,
        no_password,
    ] {
        let before = settled_output_size(testbed.server.process());
        testbed.server.reload_text(&wrong).unwrap();
        // The log grows when the file has been read.
        let log_grew =
            |process: &docxy_tests::process::Process| Ok((process.output_size() > before).then_some(()));
        block_in_place(|| testbed.server.process().wait_for("read its config", PROCESS_TIMEOUT, log_grew))
            .unwrap();
        assert_eq!(list(engine, OTHER, "owner/image").await.status, StatusCode::FORBIDDEN, "{wrong}");
        assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK, "{wrong}");
    }
    std::fs::remove_file(testbed.server.config_file()).unwrap();
    testbed.server.process().signal("HUP").unwrap();
    testbed.server.reload(&both).unwrap();
    wait_for_status(StatusCode::OK, async || list(engine, OTHER, "owner/image").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_blocks_neither_pulls_nor_shutdown() {
    let hub = hub().await;
    let config = config(&hub);
    let mut testbed = Testbed::with(hub, &config, &[]);
    let file = testbed.server.config_file();
    std::fs::remove_file(&file).unwrap();
    // A reader would wait for a writer that never comes.
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    testbed.server.process().signal("HUP").unwrap();
    for _ in 0..10 {
        assert_eq!(list(testbed.engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    }
    block_in_place(|| {
        testbed.client.stop().unwrap();
        testbed.server.process().signal("TERM").unwrap();
        assert!(testbed.server.process().wait_until_ended(PROCESS_TIMEOUT).unwrap().success());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_host_can_be_changed() {
    let authority = Arc::new(Authority::new().unwrap());
    let start = || async {
        let authority = Some(Arc::clone(&authority));
        Hub::start(HubConfig { store: test_store(), authority, ..HubConfig::default() }).await.unwrap()
    };
    let (old, new) = (start().await, start().await);
    let mut old_config = config(&old);
    // In the shared table, so the registry's own entry does not change.
    old_config.registries.get_mut("docker.io").unwrap().resolve.clear();
    old_config.resolve = old.resolve_table().into_iter().collect();
    let mut testbed = Testbed::with(old, &old_config, &[]);
    assert_eq!(list(testbed.engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    // Its entry under [registries] has not changed.
    let resolve = new.resolve_table().into_iter().collect();
    testbed.server.reload(&ServerConfig { resolve, ..old_config }).unwrap();
    let started = Instant::now();
    while new.request_log().snapshot().is_empty() {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "no request reaches the new address");
        assert_eq!(list(testbed.engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    }
    testbed.hub.request_log().clear();
    assert_eq!(list(testbed.engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    assert!(testbed.hub.request_log().snapshot().is_empty(), "a request reaches the old address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_authority_can_be_removed() {
    let (hub, other) = (hub().await, other().await);
    let good = config(&hub);
    let mut bad = good.clone();
    bad.registries.get_mut("docker.io").unwrap().ca = other.ca_file().to_owned();
    let mut testbed = Testbed::with(hub, &good, &[]);
    let engine = testbed.engine;
    assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
    testbed.server.reload(&bad).unwrap();
    wait_for_status(StatusCode::BAD_GATEWAY, async || list(engine, "docker.io", "library/hello").await).await;
    testbed.server.reload(&good).unwrap();
    wait_for_status(StatusCode::OK, async || list(engine, "docker.io", "library/hello").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_responses_can_be_enabled() {
    let hub = hub().await;
    let one = Some(PullLimit { pulls: 1, window: Duration::from_secs(21_600) });
    hub.set_pull_limits(PullLimits { anonymous: one, account: one });
    let strict = config(&hub);
    let mut testbed = Testbed::with(hub, &strict, &[]);
    let engine = testbed.engine;
    let get = async || {
        let bearer = engine.anonymous("library/hello").await;
        let path = "/v2/library/hello/manifests/latest";
        engine.get(path, &[("authorization", &bearer), ANY]).await
    };
    assert_eq!(get().await.status, StatusCode::OK);
    testbed.hub.store().publish("library/hello", "latest", &Image::hello_from("newer").unwrap());
    assert_eq!(get().await.status, StatusCode::TOO_MANY_REQUESTS);
    testbed.server.reload(&ServerConfig { stale: true, ..strict.clone() }).unwrap();
    let stale = wait_for_status(StatusCode::OK, get).await;
    assert_eq!(stale.body, hello().index().bytes);
    testbed.server.reload(&strict).unwrap();
    wait_for_status(StatusCode::TOO_MANY_REQUESTS, get).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_follows_the_file_but_not_the_command_line() {
    for (launch, follows) in [
        // A level in the developer's environment would take precedence as well.
        (Launch::under(&["env", "-u", "DOCXY_LOG"]), true),
        (Launch::default().logging("error"), false),
    ] {
        let (hub, other) = (hub().await, other().await);
        let (mut alone, mut both) = configs(&hub, &other);
        alone.log = Some("error".into());
        both.log = Some("debug".into());
        let mut server =
            block_in_place(|| Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), &alone)).unwrap();
        let client = client(&invite(&mut server, "laptop"), &[]);
        let engine = HttpClient::at(client.address());
        let logs = async |server: &mut Server| {
            let before = server.process().output_size();
            assert_eq!(list(engine, "docker.io", "library/hello").await.status, StatusCode::OK);
            server.process().output_size() - before
        };
        assert_eq!(logs(&mut server).await, 0);
        server.reload(&both).unwrap();
        wait_for_status(StatusCode::OK, async || list(engine, OTHER, "owner/image").await).await;
        let started = Instant::now();
        let mut logged = logs(&mut server).await;
        while follows && logged == 0 && started.elapsed() < PROCESS_TIMEOUT {
            logged = logs(&mut server).await;
        }
        assert_eq!(logged > 0, follows);
        // And back.
        server.reload(&alone).unwrap();
        wait_for_status(StatusCode::FORBIDDEN, async || list(engine, OTHER, "owner/image").await).await;
        while logs(&mut server).await > 0 {
            assert!(started.elapsed() < PROCESS_TIMEOUT, "it still logs");
        }
    }
}
