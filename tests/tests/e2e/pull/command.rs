//! `docxy-client pull` beside a running client: it uses that one's tunnel, and dials only where there is none.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Client, Launch},
    process::{PROCESS_TIMEOUT, Process, binary, run, scratch},
};
use hub_stand_in::{Blob, Fault, Image, Rule, Site};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::HttpClient,
    relayed_testbed::MIB,
    tcp_relay::TcpRelay,
    testbed::{Testbed, bytes, client, config, count, hub, invite, server, wait_until_down, wait_until_up},
};

const TCP: [&str; 2] = ["--leg", "tcp"];

/// The connections of one session over TCP.
const SESSION: usize = 2;

/// How long a layer takes that is sent slowly.
const TRICKLE_TIME: Duration = Duration::from_secs(20);

/// A testbed whose client uses TCP, through a relay that counts its connections.
async fn relayed() -> (Testbed, TcpRelay) {
    let hub = hub().await;
    let server = server(&config(&hub));
    let relay = TcpRelay::new(server.address()).await;
    let client = client(&relay.link_to(&server, "laptop"), &TCP);
    let testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
    wait_for("a connection for bulk", || relay.opened() == SESSION).await;
    (testbed, relay)
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PROCESS_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("no {what}"));
}

/// Publishes an image with one layer of this length as `library/big`. Returns the layer.
fn publish(testbed: &Testbed, seed: u64, len: u64) -> Blob {
    let image = Image::one_layer(seed, len).unwrap();
    testbed.hub.store().publish("library/big", "latest", &image);
    image.platform("amd64").unwrap().layers[0].blob.clone()
}

/// Makes the CDN send a layer slowly, in this time, once.
fn trickle(testbed: &Testbed, layer: &Blob, time: Duration) {
    let fault = Fault::Trickle { site: Site::Cdn, millis: time.as_millis() as u64 };
    testbed.hub.faults().arm(Rule::once(fault).on(layer.digest().hex()));
}

/// The arguments of a pull of `library/big` into an OCI layout.
fn pull(output: &Path) -> [&str; 6] {
    ["pull", "big", "--platform", "linux/amd64", "--output", output.to_str().unwrap()]
}

fn pull_to_end(client: &Client, arguments: &[&str]) {
    block_in_place(|| client.command(arguments, PROCESS_TIMEOUT)).unwrap();
}

fn assert_pulled(output: &Path, layer: &Blob) {
    let file = output.join("blobs/sha256").join(layer.digest().hex());
    assert!(fs::read(file).unwrap() == bytes(layer), "not the right bytes");
}

/// Waits until a pull has got some of its layer through the running client.
fn wait_for_bytes(client: &mut Client) {
    let some_came = |health: &Value| {
        let transfers = health["transfers"].as_array().unwrap();
        transfers
            .iter()
            .any(|transfer| transfer["operation"] == "blob" && transfer["bytes"].as_u64() > Some(MIB))
    };
    block_in_place(|| client.wait_for_health("get some bytes", PROCESS_TIMEOUT, some_came)).unwrap();
}

fn wait_for_success(pull: &mut Process) {
    let status = block_in_place(|| pull.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert!(status.success(), "{status}\n{}", pull.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_beside_a_running_client_needs_no_link() {
    let (mut testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, MIB), scratch().unwrap());
    let (beside, alone) = (folder.path().join("beside"), folder.path().join("alone"));
    let without_link = |client: &Client, output| client.command_without_link(&pull(output), PROCESS_TIMEOUT);
    block_in_place(|| without_link(&testbed.client, &beside)).unwrap();
    assert_pulled(&beside, &layer);
    assert_eq!(relay.opened(), SESSION, "it has dialed");
    trickle(&testbed, &publish(&testbed, 2, 30 * MIB), TRICKLE_TIME);
    let mut left = testbed.client.start_command_without_link(&pull(&folder.path().join("left"))).unwrap();
    wait_for_bytes(&mut testbed.client);
    block_in_place(|| testbed.client.process().kill()).unwrap();
    let status = block_in_place(|| left.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    let last = left.output().lines().last().unwrap_or_default().to_owned();
    assert!(!status.success() && last.contains("the docxy-client that served this pull has ended"), "{last}");
    let outcome = block_in_place(|| without_link(&testbed.client, &alone));
    assert!(outcome.unwrap_err().to_string().contains("docxy-client join"));
    assert!(!alone.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_uses_the_tunnel_of_a_running_client_with_its_settings() {
    let (mut testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, 8 * MIB), scratch().unwrap());
    let shared = folder.path().join("shared");
    pull_to_end(&testbed.client, &pull(&shared));
    assert_pulled(&shared, &layer);
    let shared = folder.path().join("same-settings");
    pull_to_end(&testbed.client, &[&pull(&shared)[..], &TCP].concat());
    assert_eq!(relay.opened(), SESSION, "it has dialed");
    let own = folder.path().join("other-settings");
    pull_to_end(&testbed.client, &[&pull(&own)[..], &TCP, &["--congestion", "cubic"]].concat());
    assert!(relay.opened() > SESSION, "it has used a tunnel with other settings");
    assert_pulled(&own, &layer);
    // A killed client leaves its socket.
    block_in_place(|| testbed.client.process().kill()).unwrap();
    assert!(testbed.client.socket().exists());
    for name in ["after-a-kill", "without-a-socket"] {
        let (before, own) = (relay.opened(), folder.path().join(name));
        pull_to_end(&testbed.client, &[&pull(&own)[..], &TCP].concat());
        assert!(relay.opened() > before, "{name}");
        assert_pulled(&own, &layer);
        fs::remove_file(testbed.client.socket()).ok();
    }
    block_in_place(|| testbed.client.start_again_with(&TCP)).unwrap();
    wait_until_up(&mut testbed.client);
    wait_for("two connections", || relay.open() == SESSION).await;
    let (before, again) = (relay.opened(), folder.path().join("again"));
    pull_to_end(&testbed.client, &pull(&again));
    assert_eq!(relay.opened(), before);
    block_in_place(|| testbed.client.stop()).unwrap();
    assert!(!testbed.client.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_sees_six_connections_at_most() {
    let (testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, 40 * MIB), scratch().unwrap());
    trickle(&testbed, &layer, TRICKLE_TIME);
    let outputs: Vec<_> = (0..4).map(|n| folder.path().join(n.to_string())).collect();
    let start = |output| testbed.client.start_command(&pull(output)).unwrap();
    let mut pulls: Vec<_> = outputs.iter().map(|output| start(output)).collect();
    wait_for("bytes of the layer", || relay.to_client(0) + relay.to_client(1) > MIB).await;
    // The session is lost.
    relay.cut(0);
    pulls.iter_mut().for_each(wait_for_success);
    outputs.iter().for_each(|output| assert_pulled(output, &layer));
    assert_eq!(count(&testbed.client, "tunnel/connects"), 2);
    assert!((SESSION..=6).contains(&relay.most_open()), "{} connections", relay.most_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_when_the_running_client_is_killed() {
    assert_pull_goes_on_after("KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_when_the_running_client_is_told_to_end() {
    assert_pull_goes_on_after("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_a_link_is_finished_by_a_running_client_that_is_told_to_end() {
    let (mut testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, 30 * MIB), scratch().unwrap());
    trickle(&testbed, &layer, Duration::from_secs(3));
    let output = folder.path().join("big");
    let mut pull = testbed.client.start_command_without_link(&pull(&output)).unwrap();
    wait_for_bytes(&mut testbed.client);
    block_in_place(|| testbed.client.process().signal("TERM")).unwrap();
    wait_for_success(&mut pull);
    assert_pulled(&output, &layer);
    assert_eq!(relay.opened(), SESSION);
    block_in_place(|| testbed.client.process().wait_until_ended(PROCESS_TIMEOUT)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_a_good_link_leaves_a_running_client_that_is_refused() {
    let mut testbed = Testbed::new().await;
    let (layer, folder) = (publish(&testbed, 1, MIB), scratch().unwrap());
    let good = invite(&mut testbed.server, "good");
    block_in_place(|| testbed.server.revoke("laptop")).unwrap();
    let is_refused = |health: &Value| health["tunnel"] == "refused";
    block_in_place(|| testbed.client.wait_for_health("be refused", PROCESS_TIMEOUT, is_refused)).unwrap();
    let output = folder.path().join("big");
    let pulled = || {
        let mut command = Command::new(binary("docxy-client").unwrap());
        command.env_clear().env("RUNTIME_DIRECTORY", testbed.client.socket().parent().unwrap());
        command.env("CONFIGURATION_DIRECTORY", folder.path()).args(pull(&output));
        block_in_place(|| run(command, PROCESS_TIMEOUT)).unwrap()
    };
    let error = pulled().refused().unwrap();
    assert!(error.contains("refuses this client"), "{error}");
    fs::write(folder.path().join("links"), good).unwrap();
    pulled().succeeded().unwrap();
    assert_pulled(&output, &layer);
}

/// Each pull has a tunnel of its own. Six get one connection each, and the seventh waits for one of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn pulls_without_a_running_client_share_six_connections() {
    const CONNECTIONS_MAX: usize = 6;
    let testbed = Testbed::new().await;
    let relay = TcpRelay::new(testbed.server.address()).await;
    let (link, folder) = (relay.link_to(&testbed.server, "pulls"), scratch().unwrap());
    let layer = publish(&testbed, 1, 2 * MIB);
    let fault = Fault::Trickle { site: Site::Cdn, millis: 1000 };
    testbed.hub.faults().arm(Rule::always(fault).on(layer.digest().hex()));
    let start = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(binary("docxy-client").unwrap());
        command.env_clear().env("RUNTIME_DIRECTORY", folder.path().join("run"));
        command.env("DOCXY_CACHE", folder.path().join(format!("{name}-cache"))).env("DOCXY_LINK", &link);
        command.args(arguments).args(TCP);
        Process::spawn(name, command, folder.path()).unwrap()
    };
    let outputs: Vec<_> = (0..=CONNECTIONS_MAX).map(|n| folder.path().join(n.to_string())).collect();
    let mut pulls: Vec<_> =
        outputs.iter().enumerate().map(|(n, output)| start(&format!("pull-{n}"), &pull(output))).collect();
    wait_for("six connections", || relay.open() == CONNECTIONS_MAX).await;
    let mut doctor = start("doctor", &["doctor", "--json"]);
    pulls.iter_mut().for_each(wait_for_success);
    block_in_place(|| doctor.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    outputs.iter().for_each(|output| assert_pulled(output, &layer));
    assert_eq!(relay.most_open(), CONNECTIONS_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pull_leaves_nothing() {
    let mut testbed = Testbed::new().await;
    let (layer, folder) = (publish(&testbed, 1, 30 * MIB), scratch().unwrap());
    trickle(&testbed, &layer, TRICKLE_TIME);
    let output = folder.path().join("big.tar");
    let mut pull = testbed.client.start_command(&pull(&output)).unwrap();
    wait_for_bytes(&mut testbed.client);
    let names =
        || -> Vec<_> { fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect() };
    let hidden = names();
    assert!(hidden.len() == 1 && hidden[0].to_string_lossy().starts_with('.'), "{hidden:?}");
    block_in_place(|| pull.signal("INT")).unwrap();
    let status = block_in_place(|| pull.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert_eq!(status.code(), Some(130), "{}", pull.output());
    assert_eq!(names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_when_the_running_client_is_stopped() {
    assert_pull_goes_on_after("STOP").await;
}

async fn assert_pull_goes_on_after(signal: &str) {
    let (mut testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, 60 * MIB), scratch().unwrap());
    trickle(&testbed, &layer, TRICKLE_TIME);
    let output = folder.path().join("big");
    let mut pull = testbed.client.start_command(&[&pull(&output)[..], &TCP].concat()).unwrap();
    wait_for_bytes(&mut testbed.client);
    assert_eq!(relay.opened(), SESSION);
    block_in_place(|| testbed.client.process().signal(signal)).unwrap();
    wait_for_success(&mut pull);
    assert_pulled(&output, &layer);
    assert!(relay.opened() > SESSION);
    let log = testbed.hub.request_log().of(Site::Cdn);
    let of_layer = log.iter().filter(|request| request.line().contains(layer.digest().hex()));
    let ranges: Vec<_> = of_layer.map(|request| request.header("range").unwrap_or_default()).collect();
    let rest = ranges.last().unwrap().strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let start: u64 = rest.unwrap_or_else(|| panic!("all again: {ranges:?}")).0.parse().unwrap();
    // The pull had got more than a megabyte, except what was on its way through the socket.
    assert!(start > MIB / 2, "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_while_the_tunnel_of_the_running_client_is_down() {
    let mut testbed = Testbed::new().await;
    let (layer, folder) = (publish(&testbed, 1, MIB), scratch().unwrap());
    block_in_place(|| testbed.server.stop()).unwrap();
    wait_until_down(&mut testbed.client);
    let output = folder.path().join("big");
    let mut pull = testbed.client.start_command(&pull(&output)).unwrap();
    let waits = |health: &Value| health["transfers"][0]["waits_for"] == "tunnel";
    block_in_place(|| {
        testbed.client.wait_for_health("wait for the tunnel", PROCESS_TIMEOUT, waits).unwrap();
        let tells = |pull: &Process| Ok(pull.output().contains("tunnel: down for").then_some(()));
        pull.wait_for("say why it waits", PROCESS_TIMEOUT, tells).unwrap();
        testbed.server.start_again().unwrap();
    });
    wait_for_success(&mut pull);
    assert_pulled(&output, &layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_leaves_the_socket_to_the_first() {
    let (mut testbed, relay) = relayed().await;
    let (layer, folder) = (publish(&testbed, 1, MIB), scratch().unwrap());
    let directory = testbed.client.socket().parent().unwrap().display().to_string();
    let link = invite(&mut testbed.server, "other");
    let launch = Launch::in_environment(&[("RUNTIME_DIRECTORY", &directory)]);
    let mut second = block_in_place(|| Client::start_as(&launch, None, &link)).unwrap();
    wait_until_up(&mut second);
    for name in ["while-both-run", "after-the-second"] {
        let output = folder.path().join(name);
        pull_to_end(&testbed.client, &pull(&output));
        assert_pulled(&output, &layer);
        assert_eq!(relay.opened(), SESSION, "{name}: it has dialed");
        block_in_place(|| second.stop()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_another_version_are_refused_and_none_is_served_at_the_port() {
    let testbed = Testbed::new().await;
    let socket = testbed.client.socket().display().to_string();
    let status = |arguments: &[&str], host: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data", ""]);
        command.args(["--header", "docxy-version: 0.0.1"]).args(arguments);
        command.arg(format!("http://{host}/local/call"));
        block_in_place(|| run(command, PROCESS_TIMEOUT).unwrap().succeeded()).unwrap()
    };
    assert_eq!(status(&["--unix-socket", &socket], "localhost"), "426");
    assert_eq!(status(&[], &testbed.client.address().to_string()), "404");
}

/// As root only: nobody else can become another user.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_user_is_served_at_the_socket() {
    let testbed = Testbed::new().await;
    let socket = testbed.client.socket();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let asks = |prefix: &[&str]| {
        let mut words = prefix.iter().copied().chain(["curl", "--silent", "--unix-socket"]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(&socket).arg("http://localhost/health");
        let asked = block_in_place(|| run(command, PROCESS_TIMEOUT)).unwrap();
        asked.status.success() && asked.stdout.contains("\"tunnel\"")
    };
    assert!(asks(&[]));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Even where the file system lets others in.
    for (path, mode) in [(&*socket, 0o666), (socket.parent().unwrap(), 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(socket.ancestors().nth(2).unwrap(), Permissions::from_mode(0o755)).unwrap();
    assert!(!asks(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]));
    assert!(asks(&[]));
}

/// Another key, and a revoked client: only a person can change that. Another server's link may work meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_wrong_ends_a_pull_at_once_if_no_other_link_may_work() {
    let testbed = Testbed::new().await;
    let (other, folder, layer) =
        (server(&config(&testbed.hub)), scratch().unwrap(), publish(&testbed, 1, MIB));
    let output = folder.path().join("image");
    let pulled = |links: &str| {
        let file = folder.path().join("links");
        fs::write(&file, links).unwrap();
        let mut command = Command::new(binary("docxy-client").unwrap());
        command.env_clear().env("RUNTIME_DIRECTORY", folder.path()).args(pull(&output));
        command.env("DOCXY_CACHE", folder.path().join("cache"));
        command.arg("--link-file").arg(file);
        run(command, PROCESS_TIMEOUT).unwrap()
    };
    block_in_place(|| {
        let [good, revoked] = ["good", "revoked"].map(|name| testbed.server.invite(name).unwrap());
        testbed.server.revoke("revoked").unwrap();
        // The other server's address, with this one's key.
        let (_, parameters) = good.split_once('?').unwrap();
        let pin = parameters.split('&').next().unwrap();
        let (secret, _) = good.split_once('@').unwrap();
        let wrong_key = format!("{secret}@{}?{pin}", other.address());
        let deadline = Instant::now() + PROCESS_TIMEOUT;
        let revoked_error = loop {
            match pulled(&revoked).refused() {
                Ok(error) => break error,
                // The server reads the list of clients twice a second.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            fs::remove_file(&output).unwrap();
        };
        let wrong_key_error = pulled(&wrong_key).refused().unwrap();
        for (error, words) in [(wrong_key_error, "is not the link's"), (revoked_error, "refuses this client")]
        {
            // After a timeout the text would be another one.
            assert!(error.contains(words) && !error.contains("could not connect"), "{error}");
        }
        pulled(&format!("{wrong_key}\n{revoked}\n{good}\n")).succeeded().unwrap();
    });
    assert_pulled(&output, &layer);
}
