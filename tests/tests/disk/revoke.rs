//! A client can be revoked while the disk is full: the client itself may have filled it.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
    stand_in::StandIn,
};
use hub_stand_in::Listen;
use serde_json::Value;

use crate::support::mount::Disk;

/// Within this time a revocation ends open connections, as README.md says.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(2);

const REPOSITORIES: [&str; 3] = ["library/one", "library/two", "library/three"];

/// Drop order: the programs before the disk to which they write.
struct Testbed {
    clients: Vec<Client>,
    server: Server,
    _hub: StandIn,
    disk: Disk,
}

impl Testbed {
    /// A testbed with a client of each of these names, whose tunnels are up.
    fn new(names: &[&str]) -> Self {
        let content: Vec<String> = REPOSITORIES.iter().map(|name| format!("--image={name}")).collect();
        let content: Vec<&str> = content.iter().map(String::as_str).collect();
        let hub = StandIn::start(None, Listen::on(Ipv4Addr::LOCALHOST.into()), &content).unwrap();
        let disk = Disk::mount();
        let put = |state: &Path| Ok(symlink(disk.path(), state)?);
        let config = hub.server_config();
        let server = Server::start_with(None, Ipv4Addr::LOCALHOST.into(), &config, put).unwrap();
        let links: Vec<_> = names.iter().map(|name| server.invite(name).unwrap()).collect();
        let clients = links.iter().map(|link| Client::start(None, link).unwrap()).collect();
        let mut testbed = Self { clients, server, _hub: hub, disk };
        for client in &mut testbed.clients {
            client.wait_until_up(PROCESS_TIMEOUT).unwrap();
        }
        testbed
    }

    /// Pulls by a client, after which the server has manifests in its store.
    fn pull(&self, client: usize) {
        for (n, repository) in REPOSITORIES.iter().enumerate() {
            let file = self.disk.path().with_extension(format!("{client}-{n}.tar"));
            let output = file.to_str().unwrap();
            self.clients[client].command(&["pull", repository, "--output", output], PROCESS_TIMEOUT).unwrap();
            fs::remove_file(file).unwrap();
        }
    }

    /// Revokes a client. Asserts that its tunnel is closed at once.
    fn revoke(&mut self, name: &str, client: usize) {
        self.server.revoke(name).unwrap();
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        self.clients[client].wait_for_health("be refused", REVOCATION_TIMEOUT, is_refused).unwrap();
        assert_eq!(self.state_of(name), "revoked");
    }

    fn state_of(&self, name: &str) -> String {
        let output = self.server.command(&["clients", "--json"]).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&output).unwrap();
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
        row["state"].as_str().unwrap().to_owned()
    }

    fn reserve(&self) -> PathBuf {
        self.disk.path().join("reserve")
    }
}

/// Ends [`write_usage`] on drop, after a failure as well.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Replaces the server's usage file again and again, as the server does, until `is_over`: it competes for each block that
/// becomes free.
fn write_usage(path: &Path, is_over: &AtomicBool) {
    let text = b"# Written by `docxy-server run`; sent and received are bytes, seen by the server.\n\n";
    while !is_over.load(Ordering::Relaxed) {
        // On a full disk this fails.
        if let Ok(mut file) = tempfile::NamedTempFile::new_in(path.parent().unwrap())
            && file.write_all(text).is_ok()
        {
            let _ = file.persist(path);
        }
    }
}

#[test]
fn a_revocation_on_a_full_disk_deletes_stored_manifests_and_no_other_client() {
    let mut testbed = Testbed::new(&["laptop", "phone"]);
    testbed.pull(0);
    assert!(testbed.disk.manifests() > 0, "no manifest is stored");
    let reserve = fs::read(testbed.reserve()).unwrap();
    testbed.disk.fill();
    testbed.revoke("laptop", 0);
    assert_eq!(
        fs::read(testbed.reserve()).unwrap(),
        reserve,
        "manifests, which can be fetched again, are deleted before the reserve file"
    );
    assert_eq!(testbed.state_of("phone"), "active");
    testbed.pull(1);
}

#[test]
fn several_revocations_on_a_full_disk_use_the_reserve_file() {
    let mut testbed = Testbed::new(&["laptop", "phone", "tablet"]);
    assert_eq!(testbed.disk.manifests(), 0);
    for (client, name) in ["laptop", "phone", "tablet"].into_iter().enumerate() {
        testbed.disk.fill();
        testbed.revoke(name, client);
        assert!(testbed.reserve().exists(), "the reserve file is made again");
    }
}

#[test]
fn a_revocation_succeeds_while_another_writer_fills_the_disk() {
    let mut testbed = Testbed::new(&["laptop", "phone"]);
    for (client, name) in ["laptop", "phone"].into_iter().enumerate() {
        testbed.disk.fill();
        let (usage, is_over) = (testbed.disk.path().join("usage"), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| write_usage(&usage, &is_over));
            let _stop = StopOnDrop(&is_over);
            testbed.revoke(name, client);
        });
    }
}
