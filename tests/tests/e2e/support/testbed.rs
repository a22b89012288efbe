//! Client, server and stand-in on this machine's loopback, and an engine's HTTP client: new for each test.
//! Must never be shared between tests.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Client, Server, ServerConfig, Upstream, exchanges_ended},
    process::{PROCESS_TIMEOUT, Process},
};
use hub_stand_in::{Blob, Hub, HubConfig, Image, Store};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::http_client::HttpClient;

/// The owner of `alice/private`, and her password.
pub(crate) const ALICE: (&str, &str) = ("alice", "open-sesame-alice");

/// An account without private repositories.
pub(crate) const BOB: (&str, &str) = ("bob", "open-sesame-bob");

/// The operator's account at Docker Hub.
pub(crate) const OPERATOR: (&str, &str) = ("operator", "open-sesame-operator");

/// Drop order: each requester before its responder.
pub(crate) struct Testbed {
    pub(crate) engine: HttpClient,
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) hub: Hub,
}

impl Testbed {
    /// A testbed with the default Docker Hub.
    pub(crate) async fn new() -> Self {
        Self::of(hub().await)
    }

    /// A testbed with this Docker Hub.
    pub(crate) fn of(hub: Hub) -> Self {
        let config = config(&hub);
        Self::with(hub, &config, &[])
    }

    /// A testbed with this server config, and further arguments for the client.
    pub(crate) fn with(hub: Hub, config: &ServerConfig, arguments: &[&str]) -> Self {
        let mut server = server(config);
        let client = client(&invite(&mut server, "laptop"), arguments);
        Self { engine: HttpClient::at(client.address()), client, server, hub }
    }

    /// A testbed whose server pays for public pulls with the operator's account, with this password.
    pub(crate) async fn with_operator_account(password: &str) -> Self {
        let hub = hub().await;
        hub.store().add_account(OPERATOR.0, OPERATOR.1);
        let mut config = config(&hub);
        config.registries.get_mut("docker.io").unwrap().account = Some((OPERATOR.0.into(), password.into()));
        Self::with(hub, &config, &[])
    }

    /// Adds a blob to `library/hello`. Returns it with its path.
    pub(crate) fn with_blob(&self, seed: u64, len: u64) -> (Blob, String) {
        let blob = Blob::generated(seed, len);
        self.hub.store().add_blob("library/hello", blob.clone());
        let path = format!("/v2/library/hello/blobs/{}", blob.digest());
        (blob, path)
    }

    /// The number of exchanges at the server, without pings, once none is in progress.
    pub(crate) fn exchanges_with_server(&mut self) -> u64 {
        block_in_place(|| {
            let idle = |health: &Value| health["requests"] == 0;
            self.client.wait_for_health("end its requests", PROCESS_TIMEOUT, idle).unwrap();
            let idle = |status: &Value| status["streams"] == 0 && status["exchanges"] == 0;
            exchanges_ended(&self.server.wait_for_status("end its exchanges", PROCESS_TIMEOUT, idle).unwrap())
        })
    }
}

/// Docker Hub with `library/hello` and `library/other`, which are public, and `alice/private`, which is Alice's.
pub(crate) async fn hub() -> Hub {
    Hub::start(HubConfig { store: test_store(), ..HubConfig::default() }).await.unwrap()
}

/// The content of [`hub`].
pub(crate) fn test_store() -> Store {
    let store = Store::default();
    store.publish("library/hello", "latest", &hello());
    store.publish("library/other", "latest", &Image::hello_from("other").unwrap());
    store.publish("alice/private", "latest", &Image::hello_from("alice").unwrap());
    for (user, password) in [ALICE, BOB] {
        store.add_account(user, password);
    }
    store.make_private("alice/private", &[ALICE.0]);
    store
}

/// All of a blob's bytes.
pub(crate) fn bytes(blob: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in blob.chunks() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// The image `library/hello:latest`.
pub(crate) fn hello() -> Image {
    Image::hello().unwrap()
}

/// A server config with this stand-in as Docker Hub.
pub(crate) fn config(hub: &Hub) -> ServerConfig {
    let mut config = ServerConfig::default();
    add(&mut config, "docker.io", hub);
    config
}

/// Lists a stand-in as the registry of this name.
pub(crate) fn add(config: &mut ServerConfig, name: &str, hub: &Hub) {
    let api = format!("https://{}", hub.names().registry);
    let resolve = hub.resolve_table().into_iter().collect();
    let upstream = Upstream { api, ca: hub.ca_file().to_owned(), resolve, account: None };
    config.registries.insert(name.to_owned(), upstream);
}

/// A server without clients.
pub(crate) fn server(config: &ServerConfig) -> Server {
    block_in_place(|| Server::start(None, Ipv4Addr::LOCALHOST.into(), config)).unwrap()
}

/// Invites a client. Returns its link.
pub(crate) fn invite(server: &mut Server, name: &str) -> String {
    block_in_place(|| server.invite(name)).unwrap()
}

/// A client whose tunnel is up.
pub(crate) fn client(link: &str, arguments: &[&str]) -> Client {
    let mut client = block_in_place(|| Client::start_with(None, link, arguments)).unwrap();
    wait_until_up(&mut client);
    client
}

/// Waits until a client's tunnel is up.
pub(crate) fn wait_until_up(client: &mut Client) {
    block_in_place(|| client.wait_until_up(PROCESS_TIMEOUT)).unwrap();
}

/// Waits until a client's tunnel is not up, and not only suspected.
pub(crate) fn wait_until_down(client: &mut Client) {
    let is_down = |health: &Value| health["tunnel"] != "up" && health["tunnel"] != "suspected";
    block_in_place(|| client.wait_for_health("lose its tunnel", PROCESS_TIMEOUT, is_down)).unwrap();
}

/// Waits until a client has counted this number of events, such as `tunnel/connects`.
pub(crate) fn wait_for_count(client: &mut Client, name: &str, at_least: u64) {
    block_in_place(|| client.wait_for_count(name, at_least, PROCESS_TIMEOUT)).unwrap();
}

/// A client's count of these events.
pub(crate) fn count(client: &Client, name: &str) -> u64 {
    block_in_place(|| client.count(name)).unwrap()
}

/// Restarts a client, and waits until its tunnel is up.
pub(crate) fn restart_client(client: &mut Client) {
    block_in_place(|| {
        client.stop().unwrap();
        client.start_again().unwrap();
    });
    wait_until_up(client);
}

/// The size of a process's log, once it no longer grows.
pub(crate) fn settled_output_size(process: &mut Process) -> u64 {
    let mut last = (process.output_size(), Instant::now());
    block_in_place(|| {
        process.wait_for("stop writing to its log", PROCESS_TIMEOUT, |process| {
            let now = process.output_size();
            if now != last.0 {
                last = (now, Instant::now());
            }
            Ok((last.1.elapsed() > Duration::from_millis(300)).then_some(now))
        })
    })
    .unwrap()
}
