//! `docxy-client join` asks the server before it stores a link, and a running client takes what it stored.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use docxy_tests::process::{Finished, PROCESS_TIMEOUT, Process, binary, run, scratch};
use docxy_tests::proxy::{Protocol, Proxy};
use hub_stand_in::Digest;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::{
    terminal::terminal,
    testbed::{Testbed, config, server},
};

/// A user who has a directory for links.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(scratch().unwrap())
    }

    fn links(&self) -> PathBuf {
        self.0.path().join("links")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("docxy-client").unwrap());
        command.env_clear().env("RUNTIME_DIRECTORY", self.0.path().join("run"));
        command.env("CONFIGURATION_DIRECTORY", self.0.path()).args(arguments);
        command
    }

    fn join(&self, link: &str) -> Finished {
        let mut command = self.command(&["join"]);
        command.env("DOCXY_LINK", link);
        block_in_place(|| run(command, PROCESS_TIMEOUT)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_its_server_refuses_is_not_stored() {
    let testbed = Testbed::new().await;
    let other = server(&config(&testbed.hub));
    let invite = |name: &str| block_in_place(|| testbed.server.command(&["invite", name])).unwrap();
    let user = User::new();
    // The public address is the one that `run` had.
    user.join(&invite("good")).succeeded().unwrap();
    let stored = fs::read(user.links()).unwrap();
    assert!(String::from_utf8_lossy(&stored).contains(&testbed.server.address().to_string()));

    let (revoked, wrong_secret) = (invite("revoked"), invite("wrong"));
    block_in_place(|| testbed.server.revoke("revoked")).unwrap();
    let without_sum = wrong_secret.split("&sum=").next().unwrap();
    let (_, pin) = without_sum.split_once("pin=").unwrap();
    let (client, _) = without_sum.split_once('@').unwrap();
    for (link, words) in [
        (revoked.clone(), "revoked"),
        (without_sum.replace("wrong:", "right:"), "no client of this name"),
        (format!("{client}@{}?pin={pin}", other.address()), "is not the link's"),
        // Without asking it.
        (wrong_secret.replace("wrong:", "right:"), "the name was changed in copying"),
    ] {
        let error = user.join(&link).refused().unwrap();
        assert!(error.contains(words), "{error}");
        assert_eq!(fs::read(user.links()).unwrap(), stored, "{words}");
    }

    // Nobody answers there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    user.join(&format!("{client}@127.0.0.1:{port}?pin={pin}")).succeeded().unwrap();
    assert!(fs::read_to_string(user.links()).unwrap().contains(&format!("127.0.0.1:{port}")));

    // Nor a server that a proxy forbids to ask.
    let proxy = Proxy::start(Protocol::Http).await.unwrap();
    proxy.require("office", "open-sesame");
    fs::write(user.0.path().join("client.toml"), format!("[proxy]\nurl = {:?}", proxy.url(""))).unwrap();
    let far = ["invite", "behind-a-proxy", "--public", "docxy.invalid:61443"];
    let kept = user.join(&block_in_place(|| testbed.server.command(&far)).unwrap());
    assert!(kept.status.success() && kept.stderr.contains("was not asked"), "{kept:?}");
    assert!(kept.stderr.contains(&proxy.address().to_string()), "{}", kept.stderr);
    assert!(fs::read_to_string(user.links()).unwrap().contains("behind-a-proxy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_client_takes_changed_links_at_once() {
    let mut testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 1 << 20);
    let user = User::new();
    let links = testbed.client.link_file();
    fs::write(user.0.path().join("client.toml"), format!("link_file = {links:?}")).unwrap();
    let servers = |health: &Value| health["servers"].as_array().map_or(0, Vec::len);
    block_in_place(|| {
        run(user.command(&["links", "remove", "127.0.0.1"]), PROCESS_TIMEOUT).unwrap().succeeded().unwrap();
        testbed.client.wait_for_health("drop it", PROCESS_TIMEOUT, |health| servers(health) == 0).unwrap();
    });
    let again = block_in_place(|| testbed.server.command(&["invite", "again"])).unwrap();
    user.join(&again).succeeded().unwrap();
    block_in_place(|| testbed.client.wait_until_up(PROCESS_TIMEOUT)).unwrap();
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert_eq!(Digest::of(&response.body), *blob.digest());

    // What is wrong changes nothing.
    let good = fs::read_to_string(&links).unwrap();
    fs::write(&links, format!("{good}nonsense\n")).unwrap();
    let second = server(&config(&testbed.hub));
    let link = block_in_place(|| second.command(&["invite", "laptop"])).unwrap();
    assert!(user.join(&link).refused().is_ok());
    fs::write(&links, good).unwrap();
    user.join(&link).succeeded().unwrap();
    let trusted = |health: &Value| servers(health) == 2 && health["servers"][1]["trusted"] == true;
    block_in_place(|| {
        let name = second.address().to_string();
        run(user.command(&["links", "trust", &name]), PROCESS_TIMEOUT).unwrap().succeeded().unwrap();
        testbed.client.wait_for_health("trust it", PROCESS_TIMEOUT, trusted).unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_does_not_show_the_link() {
    let testbed = Testbed::new().await;
    let link = block_in_place(|| testbed.server.command(&["invite", "typist"])).unwrap();
    let user = User::new();
    let (screen, device) = terminal();
    let join = user.command(&["join", "--offline"]);
    // It becomes the controlling terminal.
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(join.get_program()).args(join.get_args()).env_clear();
    command.envs(join.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let streams = [(); 3].map(|()| Stdio::from(device.try_clone().unwrap()));
    let seen = block_in_place(|| {
        let mut joining = Process::spawn_with("join", command, user.0.path(), Some(streams)).unwrap();
        let is_hidden = |_: &Process| {
            let modes = tcgetattr(&screen)?.local_modes;
            Ok((!modes.contains(LocalModes::ECHO)).then_some(()))
        };
        joining.wait_for("hide its input", PROCESS_TIMEOUT, is_hidden).unwrap();
        let mut keyboard = File::from(screen.try_clone().unwrap());
        keyboard.write_all(format!("<{}>\n", link.trim()).as_bytes()).unwrap();
        assert!(joining.wait_until_ended(PROCESS_TIMEOUT).unwrap().success());
        drop((device, joining));
        let mut seen = Vec::new();
        // The kernel ends the screen of a terminal that has no device with an error.
        let _ = keyboard.read_to_end(&mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let secret = link.split_once("typist:").unwrap().1.split_once('@').unwrap().0;
    assert!(!seen.is_empty() && !seen.contains(secret), "{seen}");
    assert!(fs::read_to_string(user.links()).unwrap().contains(secret));
}
