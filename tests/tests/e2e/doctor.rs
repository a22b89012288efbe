//! `docxy-client doctor` names the one fault in each of these situations, and none where nothing is wrong.
//! Asserts on hops and verdicts of the JSON document, never on its texts.

use std::{
    collections::BTreeSet,
    fmt, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use docxy_protocol::{
    control::{ControlMessage, ServedRegistries, Welcome},
    frame,
    link::Link,
    name::Registry,
    request::{Operation, Request},
};
use docxy_tests::process::{Finished, PROCESS_TIMEOUT, binary, run, scratch};
use hub_stand_in::{Fault, Hub, HubConfig, Rule, Site};
use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{block_in_place, spawn_blocking};

use crate::support::{
    http_client::ANY,
    relay::Relay,
    scripted_server::{Greeting, ScriptedResponse, ScriptedServer},
    tcp_relay::TcpRelay,
    testbed::{Testbed, config, hello, invite, server, test_store},
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image whose config is an empty object.
const MANIFEST: &[u8] =
    br#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}"#;

/// The config file of podman, below the directory of its files.
const PODMAN_FILE: &str = "containers/registries.conf.d/99-docxy.conf";

/// A user's machine: a config file, links, and a podman that only says its version.
struct Laptop {
    folder: TempDir,
}

/// What doctor has said.
struct Report {
    code: Option<i32>,
    document: Value,
}

impl Laptop {
    /// A laptop whose client listens there.
    fn new(listen: SocketAddr, links: &str) -> Self {
        let laptop = Self { folder: scratch().unwrap() };
        for folder in ["config", "bin", "home"] {
            fs::create_dir(laptop.path(folder)).unwrap();
        }
        fs::write(laptop.path("config/client.toml"), format!("listen = [\"{listen}\"]\n")).unwrap();
        if !links.is_empty() {
            fs::write(laptop.path("config/links"), links).unwrap();
        }
        let script = "#!/bin/sh\necho podman version 4.3.1\n";
        let podman = laptop.path("bin/podman");
        fs::write(&podman, script).unwrap();
        let mut executable = Command::new("chmod");
        executable.arg("+x").arg(podman);
        run(executable, PROCESS_TIMEOUT).unwrap().succeeded().unwrap();
        laptop
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Runs these commands of a shell, in which `$CONFIG` is the directory of engines' files. As root, that is an empty `/etc`
    /// in a mount namespace of its own.
    fn shell(&self, commands: &str) -> Finished {
        let (under, mount, config) = match geteuid().is_root() {
            true => (
                &["unshare", "--mount", "--propagation", "private", "sh"][..],
                "mount -t tmpfs none /etc",
                "/etc",
            ),
            false => (&["sh"][..], "true", &*self.path("home/.config").display().to_string()),
        };
        let script = format!("set -e\n{mount}\n{commands}");
        let mut command = Command::new(under[0]);
        command.args(&under[1..]).args(["-c", &script]).env_clear().env("CONFIG", config);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display()));
        command.env("DOCXY", binary("docxy-client").unwrap());
        command.env("HOME", self.path("home")).env("CONFIGURATION_DIRECTORY", self.path("config"));
        command.env("CACHE_DIRECTORY", self.path("cache")).env("RUNTIME_DIRECTORY", self.path("run"));
        run(command, PROCESS_TIMEOUT).unwrap()
    }

    /// Runs doctor after these commands.
    fn doctor_after(&self, commands: &str, arguments: &str) -> Report {
        let finished =
            self.shell(&format!("{{ {commands}\n}} >&2\nexec \"$DOCXY\" doctor --json {arguments}"));
        let document = serde_json::from_str(&finished.stdout);
        let document = document.unwrap_or_else(|error| panic!("{error}: {finished:#?}"));
        Report { code: finished.status.code(), document }
    }
}

impl Report {
    fn hops(&self) -> &[Value] {
        self.document["hops"].as_array().unwrap()
    }

    /// The hops with this verdict, without the engines, which are this machine's.
    fn with(&self, verdict: &str) -> BTreeSet<&str> {
        let is_meant = |hop: &&Value| hop["verdict"] == verdict && hop["hop"] != "engine";
        self.hops().iter().filter(is_meant).map(|hop| hop["hop"].as_str().unwrap()).collect()
    }

    /// The verdict on the engine that every laptop here has.
    fn podman(&self) -> &str {
        let podman = self.hops().iter().find(|hop| hop["engine"] == "podman");
        podman.unwrap_or_else(|| panic!("{self}"))["verdict"].as_str().unwrap()
    }

    /// Checks that exactly these hops have a fault, each with what mends it, and that the exit code tells.
    fn assert_faults(&self, situation: &str, expected: &[&str]) {
        let text = format!("{situation}: {self}");
        assert_eq!(self.with("fault"), expected.iter().copied().collect(), "{text}");
        let faults: Vec<_> = self.hops().iter().filter(|hop| hop["verdict"] == "fault").collect();
        assert!(
            faults.iter().all(|hop| hop["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty())),
            "{text}"
        );
        assert_eq!(
            (self.document["ok"].as_bool(), self.code),
            (Some(faults.is_empty()), Some((!faults.is_empty()).into())),
            "{text}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hops().iter().try_for_each(|hop| {
            writeln!(f, "{} {} {}: {}", hop["hop"], hop["engine"], hop["verdict"], hop["detail"])
        })
    }
}

/// Docker Hub with the image that doctor asks for.
async fn hub() -> Hub {
    let store = test_store();
    store.publish("library/hello-world", "latest", &hello());
    Hub::start(HubConfig { store, ..HubConfig::default() }).await.unwrap()
}

/// A testbed with that, whose client is up.
async fn testbed() -> Testbed {
    Testbed::of(hub().await)
}

/// A link with another character somewhere after this text.
fn changed(link: &str, after: &str) -> String {
    let at = link.find(after).unwrap() + after.len();
    let other = if link.as_bytes()[at] == b'A' { "B" } else { "A" };
    [&link[..at], other, &link[at + 1..]].concat()
}

/// A port of this machine at which nothing listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What doctor says of these links in turn is as expected. They are all asked at the same time.
async fn assert_each(rows: Vec<(&'static str, Laptop, &'static str, &'static [&'static str])>) {
    let started: Vec<_> = rows
        .into_iter()
        .map(|(situation, laptop, arguments, expected)| {
            spawn_blocking(move || laptop.doctor_after("true", arguments).assert_faults(situation, expected))
        })
        .collect();
    for row in started {
        row.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_with_a_link_or_the_way_to_its_server() {
    let mut testbed = testbed().await;
    let client = testbed.client.address();
    let unsummed: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let (link, unsummed) = (unsummed.expose_with_sum(), unsummed.expose());
    let other = server(&config(&testbed.hub));
    let relay = || Relay::with_delay(testbed.server.address(), Duration::ZERO);
    let [no_udp, no_tcp, frozen, frozen_up] = [relay(), relay(), relay(), relay()];
    no_udp.set_udp(false);
    no_tcp.set_tcp(false);
    // After the handshakes, and before 64 KiB.
    frozen.disconnect_after(32 * 1024);
    frozen_up.disconnect_after_sent(32 * 1024);
    let relays = [(&no_udp, "no-udp"), (&no_tcp, "no-tcp"), (&frozen, "frozen"), (&frozen_up, "frozen-up")];
    let [by_tcp, by_udp, until_frozen, until_frozen_up] =
        relays.map(|(relay, name)| relay.link_to(&testbed.server, name));
    let counted = TcpRelay::new(testbed.server.address()).await;
    let by_counted = counted.link_to(&testbed.server, "counted");
    let revoked = invite(&mut testbed.server, "revoked");
    block_in_place(|| testbed.server.revoke("revoked")).unwrap();
    let (address, other_address) = (testbed.server.address().to_string(), other.address().to_string());
    let at = |links: &str| Laptop::new(client, links);
    let rows: Vec<(_, _, _, &[&str])> = vec![
        ("nothing is wrong", at(&link), "", &[]),
        ("no link", at(""), "", &["links"]),
        ("not a link", at(&link[..60]), "", &["links"]),
        ("changed name", at(&link.replace("phone", "phome")), "", &["checksum"]),
        ("changed secret", at(&changed(&link, "phone:")), "", &["checksum"]),
        ("changed host", at(&link.replace("127.0.0.1", "127.0.0.7")), "", &["checksum"]),
        ("changed pin", at(&changed(&link, "pin=")), "", &["checksum"]),
        ("unknown name", at(&unsummed.replace("127.0.0.1", "docxy.invalid")), "", &["name"]),
        ("server down", at(&unsummed.replace(&address, &free_address().to_string())), "", &["udp", "tcp"]),
        ("UDP blocked", at(&by_tcp), "", &["udp"]),
        ("TCP blocked", at(&by_udp), "", &["tcp"]),
        ("cut off in mid-flow", at(&until_frozen), "--leg tcp", &["down"]),
        ("cut off on the way up", at(&until_frozen_up), "--leg tcp", &["up"]),
        ("another key", at(&unsummed.replace(&address, &other_address)), "", &["pin"]),
        ("revoked", at(&revoked), "", &["hello"]),
        ("registry not listed", at(&link), "ghcr.io/owner/app", &["registry"]),
        ("no client runs", Laptop::new(free_address(), &link), "", &["local_client"]),
        ("nothing is wrong over TCP", at(&by_counted), "--leg tcp", &[]),
    ];
    assert_each(rows).await;
    assert_eq!(counted.most_open(), 1, "a running client has others, and networks count them");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_hop_behind_the_server_that_fails() {
    let status = |site, status| Fault::Status { site, status, retry_after: None };
    let mut rows: Vec<(_, _, _, &[&str])> = Vec::new();
    let mut kept = Vec::new();
    for (situation, fault, expected) in [
        ("registry down", status(Site::Registry, 503), &["registry"] as &[_]),
        ("token service down", status(Site::Auth, 503), &["token_service"]),
        ("no pulls left", Fault::PullLimit, &["quota"]),
        ("CDN down", status(Site::Cdn, 503), &["cdn"]),
    ] {
        let mut testbed = testbed().await;
        testbed.hub.faults().arm(Rule::always(fault));
        let link = invite(&mut testbed.server, "phone");
        rows.push((situation, Laptop::new(testbed.client.address(), &link), "", expected));
        kept.push(testbed);
    }
    assert_each(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_another_version_and_a_wrong_clock() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let registries: ServedRegistries = [Registry::docker_hub()].into_iter().collect();
    let welcome = Welcome { version: "scripted".into(), registries, time: now - 600 };
    let late = Greeting::Bytes(frame::encode(&ControlMessage::Welcome(welcome)).unwrap());
    let respond = |request: &Request| match request.operation {
        Operation::Manifest { .. } => ScriptedResponse::new(200, &[("content-type", OCI_MANIFEST)], MANIFEST),
        _ => ScriptedResponse::new(200, &[], b"{}"),
    };
    let old = ScriptedServer::greeting(Greeting::Version(1), respond).await;
    let late = ScriptedServer::greeting(late, respond).await;
    let laptop = |scripted: &ScriptedServer| Laptop::new(scripted.client.address(), &scripted.link);
    assert_each(vec![
        ("another version", laptop(&old), "--leg quic", &["hello"]),
        ("wrong clock", laptop(&late), "--leg quic", &["clock"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_a_client_that_is_not_connected_from_another_program() {
    let mut testbed = testbed().await;
    let link = invite(&mut testbed.server, "phone");
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let foreign_laptop = Laptop::new(foreign.local_addr().unwrap(), &link);
    block_in_place(|| testbed.server.revoke("laptop")).unwrap();
    let is_refused = |health: &Value| health["tunnel"] != "up";
    block_in_place(|| testbed.client.wait_for_health("be refused", PROCESS_TIMEOUT, is_refused)).unwrap();
    assert_each(vec![
        ("another program", foreign_laptop, "", &["local_client"]),
        ("not connected", Laptop::new(testbed.client.address(), &link), "", &["local_client"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_whether_engines_are_set_up_and_ask() {
    let mut testbed = testbed().await;
    let link = invite(&mut testbed.server, "phone");
    let laptop = |steps: &'static str| {
        let laptop = Laptop::new(testbed.client.address(), &link);
        spawn_blocking(move || laptop.doctor_after(steps, ""))
    };
    let file = format!("$CONFIG/{PODMAN_FILE}");
    let broken = format!("\"$DOCXY\" setup podman; echo '[[' >\"{file}\"");
    let removed = format!("\"$DOCXY\" setup podman; rm \"{file}\"");
    let moved = "echo 'listen = [\"127.0.0.1:1\"]' >$CONFIGURATION_DIRECTORY/client.toml";
    let moved = format!(
        "cp $CONFIGURATION_DIRECTORY/client.toml $HOME; {moved}; \"$DOCXY\" setup podman; cp $HOME/client.toml $CONFIGURATION_DIRECTORY"
    );
    let [broken, removed, moved] = [broken, removed, moved].map(|steps| &*steps.leak());
    let set_up = "\"$DOCXY\" setup podman";
    let (none, broken, removed, moved, silent) =
        (laptop("true"), laptop(broken), laptop(removed), laptop(moved), laptop(set_up));
    let none = none.await.unwrap();
    assert!(
        none.hops().iter().any(|hop| hop["hop"] == "engine" && hop["verdict"] == "fault"),
        "{:#}",
        none.document
    );
    assert_eq!(none.code, Some(1));
    for (situation, report) in [("broken", broken), ("removed", removed), ("another port", moved)] {
        let report = report.await.unwrap();
        assert_eq!((report.podman(), report.code), ("fault", Some(1)), "{situation}: {report}");
    }
    let silent = silent.await.unwrap();
    assert_eq!((silent.podman(), silent.code), ("unknown", Some(0)), "{silent}");
    let agent = ("user-agent", "containers/5.23.1 (github.com/containers/image)");
    testbed.engine.get("/v2/library/hello/manifests/latest", &[ANY, agent]).await;
    let next = Laptop::new(testbed.client.address(), &link);
    let next = block_in_place(|| next.shell("\"$DOCXY\" setup podman >&2\n\"$DOCXY\"")).succeeded().unwrap();
    assert!(next.lines().last().unwrap().starts_with("next: podman pull "), "{next}");
    let asks = laptop(set_up).await.unwrap();
    assert_eq!((asks.podman(), asks.code), ("ok", Some(0)), "{asks}");
}
