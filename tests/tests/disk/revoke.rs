//! A revocation must get through: whoever holds the link may be the one who filled the disk.

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

use crate::mount::Disk;

/// The contract: a revocation ends open connections within two seconds.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

const REPOSITORIES: [&str; 3] = ["library/one", "library/two", "library/three"];

/// Dropped in this order: whoever writes to the disk before the disk.
struct World {
    clients: Vec<Client>,
    server: Server,
    _hub: StandIn,
    disk: Disk,
}

impl World {
    /// With a client of each of these names, whose tunnel is up.
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
        let mut world = Self { clients, server, _hub: hub, disk };
        for client in &mut world.clients {
            client.wait_until_up(PROCESS_TIMEOUT).unwrap();
        }
        world
    }

    /// Pulls by a client, after which the server keeps manifests.
    fn pull(&self, client: usize) {
        for (n, repository) in REPOSITORIES.iter().enumerate() {
            let file = self.disk.path().with_extension(format!("{client}-{n}.tar"));
            let output = file.to_str().unwrap();
            self.clients[client].command(&["pull", repository, "--output", output], PROCESS_TIMEOUT).unwrap();
            fs::remove_file(file).unwrap();
        }
    }

    /// Revokes a client, which has to be told within two seconds.
    fn revoke(&mut self, name: &str, client: usize) {
        self.server.revoke(name).unwrap();
        let is_refused = |health: &Value| health["tunnel"] == "refused";
        self.clients[client].wait_for_health("be refused", REVOKED_WITHIN, is_refused).unwrap();
        assert_eq!(self.state_of(name), "revoked");
    }

    fn state_of(&self, name: &str) -> String {
        let listed = self.server.command(&["clients", "--json"]).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&listed).unwrap();
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
        row["state"].as_str().unwrap().to_owned()
    }

    fn reserve(&self) -> PathBuf {
        self.disk.path().join("reserve")
    }
}

/// Ends it when it is dropped, after a failure as well.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Replaces a file as the running server does with its counts, again and again, until it is told to end: whatever
/// room there is for a moment it may take.
fn write_usage(path: &Path, is_over: &AtomicBool) {
    let text = b"# Written by `docxy-server run`; sent and received are bytes, seen by the server.\n\n";
    while !is_over.load(Ordering::Relaxed) {
        // On a full disk there is none.
        if let Ok(mut file) = tempfile::NamedTempFile::new_in(path.parent().unwrap())
            && file.write_all(text).is_ok()
        {
            let _ = file.persist(path);
        }
    }
}

#[test]
fn a_client_is_revoked_on_a_full_disk_for_kept_manifests_and_the_others_stay() {
    let mut world = World::new(&["laptop", "phone"]);
    world.pull(0);
    assert!(world.disk.manifests() > 0, "nothing is kept");
    let reserve = fs::read(world.reserve()).unwrap();
    world.disk.fill();
    world.revoke("laptop", 0);
    assert_eq!(fs::read(world.reserve()).unwrap(), reserve, "what can be fetched again goes first");
    // Nothing of that is anybody else's affair.
    assert_eq!(world.state_of("phone"), "active");
    world.pull(1);
}

#[test]
fn clients_are_revoked_on_a_full_disk_for_the_reserve_one_after_the_other() {
    let mut world = World::new(&["laptop", "phone", "tablet"]);
    assert_eq!(world.disk.manifests(), 0);
    for (client, name) in ["laptop", "phone", "tablet"].into_iter().enumerate() {
        world.disk.fill();
        world.revoke(name, client);
        assert!(world.reserve().exists(), "it is made again for the next one");
    }
}

#[test]
fn a_client_is_revoked_while_the_server_writes_its_counts_to_the_full_disk() {
    let mut world = World::new(&["laptop", "phone"]);
    for (client, name) in ["laptop", "phone"].into_iter().enumerate() {
        world.disk.fill();
        let (usage, is_over) = (world.disk.path().join("usage"), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| write_usage(&usage, &is_over));
            let _end = End(&is_over);
            world.revoke(name, client);
        });
    }
}
