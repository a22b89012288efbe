//! `SIGHUP` to a client: which settings change while it serves. An invalid file changes nothing, and pulls continue.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Client, Launch},
    process::{PROCESS_TIMEOUT, Process, scratch},
};
use http::StatusCode;
use hub_stand_in::{Blob, Digest, Hub};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    raw_http::{End, RawConnection},
    testbed::{config, hub, invite, server, settled_output_size, wait_until_up},
};

/// Shorter than the minute after which a refused client dials again by itself.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A client with a config file, its server and its registry.
struct Configured {
    client: Client,
    server: docxy_tests::docxy::Server,
    hub: Hub,
    folder: TempDir,
}

impl Configured {
    async fn start(toml: &str) -> Self {
        let hub = hub().await;
        let mut server = server(&config(&hub));
        let link = invite(&mut server, "laptop");
        let folder = scratch().unwrap();
        let file = folder.path().join("client.toml");
        fs::write(&file, toml).unwrap();
        // A setting in the developer's environment would take precedence over the file.
        let launch = Launch {
            arguments: vec!["--config".into(), file.to_str().unwrap().into()],
            ..Launch::under(&["env", "-u", "DOCXY_LOG"])
        };
        let client = block_in_place(|| {
            let mut client = Client::start_as(&launch, None, &link).unwrap();
            wait_until_up(&mut client);
            client
        });
        Self { client, server, hub, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("client.toml")
    }

    fn reload(&mut self, toml: &str) {
        fs::write(self.file(), toml).unwrap();
        self.client.process().signal("HUP").unwrap();
    }

    /// Reloads, and waits until the client has read the file: then its log grows.
    fn reload_and_wait(&mut self, toml: &str) {
        let before = settled_output_size(self.client.process());
        self.reload(toml);
        let read = |process: &Process| Ok((process.output_size() > before).then_some(()));
        block_in_place(|| self.client.process().wait_for("read its settings", PROCESS_TIMEOUT, read))
            .unwrap();
    }

    fn engine(&self) -> HttpClient {
        HttpClient::at(self.client.address())
    }

    /// The status of a request with this `Host`.
    async fn status_for(&self, host: &str) -> StatusCode {
        self.engine().get("/v2/", &[("host", host)]).await.status
    }

    /// Reads the first MiB of a blob of 64 MiB.
    async fn begin_pull(&self) -> (Blob, RawConnection) {
        let blob = Blob::generated(1, 64 << 20);
        self.hub.store().add_blob("library/hello", blob.clone());
        let bearer = self.engine().anonymous("library/hello").await;
        let path = format!("/v2/library/hello/blobs/{}", blob.digest());
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        let mut transfer = RawConnection::get(self.client.address(), &path, &headers).await;
        transfer.read_body(1 << 20).await;
        (blob, transfer)
    }
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "the condition is still false");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_names_can_be_added_and_removed() {
    let mut configured = Configured::start("hosts = ['old.lan']").await;
    assert_eq!(configured.status_for("old.lan").await, StatusCode::UNAUTHORIZED);
    assert_eq!(configured.status_for("new.lan").await, StatusCode::MISDIRECTED_REQUEST);
    configured.reload("hosts = ['new.lan']");
    wait_until(async || configured.status_for("new.lan").await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(configured.status_for("old.lan").await, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing() {
    let mut configured = Configured::start("hosts = ['old.lan']").await;
    let link = fs::read_to_string(configured.client.link_file()).unwrap();
    for wrong in [
        "hosts = ['new.lan']\noops",
        "hosts = ['new.lan']\nunknown = 1",
        "hosts = ['new.lan']\nlog = 'loud'",
        "hosts = ['new.lan', 'http://x']",
    ] {
        configured.reload_and_wait(wrong);
        assert_eq!(configured.status_for("new.lan").await, StatusCode::MISDIRECTED_REQUEST, "{wrong}");
        assert_eq!(configured.status_for("old.lan").await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    for wrong in ["", "docxy://nonsense"] {
        fs::write(configured.client.link_file(), wrong).unwrap();
        configured.reload_and_wait("hosts = ['new.lan']");
        assert_eq!(configured.status_for("new.lan").await, StatusCode::MISDIRECTED_REQUEST, "{wrong:?}");
        assert_eq!(block_in_place(|| configured.client.health()).unwrap()["tunnel"], "up");
    }
    fs::write(configured.client.link_file(), link).unwrap();
    configured.reload("hosts = ['new.lan']");
    wait_until(async || configured.status_for("new.lan").await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_settings_leave_the_tunnel_alone() {
    let mut configured = Configured::start("").await;
    let since = |configured: &Configured| {
        block_in_place(|| configured.client.health()).unwrap()["since"].as_str().unwrap().to_owned()
    };
    let before = since(&configured);
    configured.reload("hosts = ['new.lan']\npatience = 30");
    wait_until(async || configured.status_for("new.lan").await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(since(&configured), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_continues_over_a_new_link() {
    let mut configured = Configured::start("").await;
    let (blob, transfer) = configured.begin_pull().await;

    let mut second = server(&config(&configured.hub));
    fs::write(configured.client.link_file(), invite(&mut second, "laptop")).unwrap();
    configured.client.process().signal("HUP").unwrap();
    let has_moved = |health: &Value| health["server"] == second.address().to_string();
    block_in_place(|| configured.client.wait_for_health("move", PROCESS_TIMEOUT, has_moved)).unwrap();
    let received = transfer.rest().await;
    assert_eq!((received.body().len() as u64, received.end), (blob.len(), End::Fin));
    assert_eq!(Digest::of(received.body()), *blob.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_reconnects_with_a_new_link() {
    let mut configured = Configured::start("").await;
    block_in_place(|| {
        configured.server.revoke("laptop").unwrap();
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        configured.client.wait_for_health("be refused", PROCESS_TIMEOUT, is_refused).unwrap();
        let link = configured.server.invite("laptop").unwrap();
        fs::write(configured.client.link_file(), link).unwrap();
        configured.client.process().signal("HUP").unwrap();
        let is_up = |health: &Value| health["tunnel"] == "up";
        configured.client.wait_for_health("be back", RECONNECT_TIMEOUT, is_up).unwrap();
    });
    let bearer = configured.engine().anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    let response = configured.engine().get("/v2/library/hello/manifests/latest", &headers).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_last_link_a_client_drops_the_tunnel() {
    let mut configured = Configured::start("").await;
    let link = fs::read_to_string(configured.client.link_file()).unwrap();
    // As `links remove` leaves it.
    fs::write(configured.client.link_file(), "# each line is a secret\n").unwrap();
    configured.client.process().signal("HUP").unwrap();
    let is_dropped = |health: &Value| health["servers"].as_array().is_some_and(Vec::is_empty);
    block_in_place(|| configured.client.wait_for_health("drop it", PROCESS_TIMEOUT, is_dropped)).unwrap();
    let response = configured.engine().get("/v2/library/hello/manifests/latest", &[ANY]).await;
    let (status, _, message) = response.fault("tunnel");
    assert_eq!(status, 503);
    assert!(message.contains("docxy-client join"), "{message}");
    fs::write(configured.client.link_file(), link).unwrap();
    configured.client.process().signal("HUP").unwrap();
    let is_up = |health: &Value| health["tunnel"] == "up";
    block_in_place(|| configured.client.wait_for_health("be back", PROCESS_TIMEOUT, is_up)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_patience_applies_to_waiting_pulls() {
    let mut configured = Configured::start("").await;
    let (blob, transfer) = configured.begin_pull().await;
    configured.reload_and_wait("patience = 2");
    block_in_place(|| configured.server.stop()).unwrap();
    // With the initial ten minutes it would wait.
    let received = transfer.rest().await;
    assert!((received.body().len() as u64) < blob.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_follows_the_file() {
    let mut configured = Configured::start("log = 'error'").await;
    let engine = configured.engine();
    let logs = async |configured: &mut Configured| {
        let before = configured.client.process().output_size();
        let bearer = engine.anonymous("library/hello").await;
        let path = "/v2/library/hello/tags/list";
        assert_eq!(engine.get(path, &[("authorization", &bearer)]).await.status, StatusCode::OK);
        configured.client.process().output_size() - before
    };
    assert_eq!(logs(&mut configured).await, 0);
    configured.reload("log = 'debug'");
    let started = Instant::now();
    while logs(&mut configured).await == 0 {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "it does not log");
    }
    configured.reload("log = 'error'");
    while logs(&mut configured).await > 0 {
        assert!(started.elapsed() < PROCESS_TIMEOUT, "it still logs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_writes_to_the_log() {
    let mut configured = Configured::start("log = 'info'").await;
    // From now on an idle client logs nothing else.
    let before = settled_output_size(configured.client.process());
    let has_grown = |process: &Process| Ok((process.output_size() > before).then_some(()));
    block_in_place(|| {
        configured.client.process().signal("USR1").unwrap();
        configured.client.process().wait_for("write to its log", PROCESS_TIMEOUT, has_grown).unwrap();
    });
}
