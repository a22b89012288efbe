//! Replicas of a server: they share their identity, the key of their tokens and the clients' file, and nothing else.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Launch, Server, without_sum},
    process::{PROCESS_TIMEOUT, scratch},
};
use hub_stand_in::Hub;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{HttpClient, PROMPT_TIMEOUT, REVOCATION_TIMEOUT},
    relay::Relay,
    relayed_testbed::{MIB, assert_whole, begin},
    testbed::{Testbed, client, config, hub, wait_for_count},
};

/// Two replicas, and the folder that the operator keeps for them.
struct Fleet {
    replicas: [Server; 2],
    folder: TempDir,
    hub: Hub,
}

impl Fleet {
    async fn new() -> Self {
        let (hub, folder) = (hub().await, scratch().unwrap());
        let operator = folder.path().join("operator");
        let clients = folder.path().join("shared/clients");
        for folder in [&operator, clients.parent().unwrap()] {
            fs::create_dir(folder).unwrap();
        }
        let launch = Launch::with(&["--clients-file", clients.to_str().unwrap()]);
        let start = |keys: Option<&Path>| {
            let copy = |state: &Path| -> anyhow::Result<()> {
                fs::create_dir(state)?;
                for file in ["identity.pem", "token.key"].iter().filter(|_| keys.is_some()) {
                    fs::copy(keys.unwrap().join(file), state.join(file))?;
                }
                Ok(())
            };
            let ip = Ipv4Addr::LOCALHOST.into();
            block_in_place(|| Server::prepare_and_start(&launch, None, ip, &config(&hub), copy)).unwrap()
        };
        let first = start(None);
        let second = start(Some(&first.state()));
        fs::copy(first.state().join("identity.pem"), operator.join("identity.pem")).unwrap();
        Self { replicas: [first, second], folder, hub }
    }

    /// Runs a command of `docxy-server` on the operator's machine, where no replica runs.
    fn operate(&self, arguments: &[&str]) -> String {
        let clients: PathBuf = self.folder.path().join("shared/clients");
        let state = self.folder.path().join("operator");
        let all = [arguments, &["--clients-file", clients.to_str().unwrap()]].concat();
        let done = block_in_place(|| self.replicas[0].command_with(&state, &all)).unwrap();
        done.trim().to_owned()
    }

    fn invite(&self, name: &str, public: &str) -> String {
        without_sum(&self.operate(&["invite", name, "--public", public]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invitation_counts_at_every_replica_and_so_does_a_revocation() {
    let mut fleet = Fleet::new().await;
    let [first, second] = [0, 1].map(|n| fleet.replicas[n].address());
    let keys = |n: usize, file: &str| fs::read(fleet.replicas[n].state().join(file)).unwrap();
    for (file, is_shared) in [("identity.pem", true), ("token.key", true), ("quic.keys", false)] {
        assert_eq!(keys(0, file) == keys(1, file), is_shared, "{file}");
    }
    let link = fleet.invite("laptop", &first.to_string());
    let mut clients = [first, second].map(|address| {
        let link = link.replace(&format!(":{}?", first.port()), &format!(":{}?", address.port()));
        client(&link, &[])
    });
    for replica in &mut fleet.replicas {
        let has_one = |status: &Value| status["connections"] == 1;
        block_in_place(|| replica.wait_for_status("have a client", PROCESS_TIMEOUT, has_one)).unwrap();
        assert!(!replica.state().join("clients").exists());
    }
    let revoked = Instant::now();
    fleet.operate(&["revoke", "laptop"]);
    for client in &mut clients {
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        block_in_place(|| client.wait_for_health("be refused", PROCESS_TIMEOUT, is_refused)).unwrap();
    }
    // In time on an idle machine.
    assert!(revoked.elapsed() < REVOCATION_TIMEOUT + PROMPT_TIMEOUT, "{:?}", revoked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_sent_to_another_replica_dials_again() {
    let fleet = Fleet::new().await;
    // The load balancer.
    let relay = Relay::with_delay(fleet.replicas[0].address(), Duration::ZERO);
    let client = client(&fleet.invite("laptop", &relay.address().to_string()), &[]);
    let Fleet { replicas: [server, other], folder: _folder, hub } = fleet;
    let mut testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
    let (blob, path) = testbed.with_blob(1, 64 * MIB);
    let raw = begin(&testbed, &path, 2 * MIB).await;
    let moved = Instant::now();
    relay.send_to(other.address());
    assert_whole(&raw.rest().await, &blob);
    println!("a pull was over {:?} after its packets went to another replica", moved.elapsed());
    // A few seconds on an idle machine.
    assert!(moved.elapsed() < 3 * PROMPT_TIMEOUT, "{:?}", moved.elapsed());
    wait_for_count(&mut testbed.client, "tunnel/connects", 2);
}
