//! What the user of each engine sees while the tunnel is down: our words, and not only a status. `README.md` has the
//! table.

use std::{thread, time::Instant};

use anyhow::{Result, ensure};
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine as _, Podman, Skopeo},
    process::{PROCESS_TIMEOUT, run},
};

use crate::support::testbed::{Testbed, with_testbed};

/// In each message.
const WORDS: &str = "docxy: tunnel: down for ";

const HELLO: &str = "docker.io/library/hello:latest";

/// How long a command may take. `docker manifest inspect` waited for 16 minutes once.
const COMMAND_SECONDS_MAX: u64 = 115;

/// Stops the server of a tunnel that was up, and waits until the client has noticed.
fn take_down(testbed: &mut Testbed) -> Result<()> {
    testbed.client.wait_until_up(PROCESS_TIMEOUT)?;
    testbed.server.stop()?;
    testbed
        .client
        .wait_for_health("lose its tunnel", PROCESS_TIMEOUT, |health| health["tunnel"] == "down")?;
    Ok(())
}

/// Asserts that an engine's message has our words, for two commands at a time: each waits for a minute.
fn assert_explain(commands: [(&str, &(dyn Fn() -> Result<String> + Sync)); 2]) -> Result<()> {
    thread::scope(|scope| {
        let commands = commands.map(|(name, refused)| scope.spawn(move || assert_explains(name, refused)));
        commands.into_iter().try_for_each(|command| command.join().expect("it returns its errors"))
    })
}

fn assert_explains(name: &str, refused: impl Fn() -> Result<String>) -> Result<()> {
    let started = Instant::now();
    let message = refused()?;
    let seconds = started.elapsed().as_secs();
    println!("{name}, {seconds} s: {message}");
    ensure!(message.contains(WORDS), "{name} does not say why: {message}");
    ensure!(seconds < COMMAND_SECONDS_MAX, "{name} took {seconds} s");
    Ok(())
}

#[test]
fn docker_says_why() {
    with_testbed(|testbed| {
        let docker = Dockerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        take_down(testbed)?;
        let image = format!("{}/library/hello", testbed.registry());
        let inspect = || docker.docker(&["manifest", "inspect", "--insecure", &image]);
        assert_explain([
            ("docker pull", &|| docker.pull_refused(&image)),
            ("docker manifest inspect", &|| run(inspect(), 2 * PROCESS_TIMEOUT)?.refused()),
        ])
    });
}

#[test]
fn containerd_says_why() {
    with_testbed(|testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        // Without a fallback to the origin, as it is recommended.
        let url = testbed.client.url();
        containerd.mirror("docker.io", &url, &url)?;
        take_down(testbed)?;
        let image = format!("{}/library/hello:latest", testbed.registry());
        assert_explain([
            ("ctr, mirror", &|| containerd.pull_refused(HELLO, None)),
            ("ctr", &|| containerd.pull_refused(&image, None)),
        ])
    });
}

#[test]
fn podman_says_why() {
    with_testbed(|testbed| {
        let podman = Podman::new(&testbed.lab.laptop, &testbed.registry())?;
        take_down(testbed)?;
        let image = format!("{}/library/hello:latest", testbed.registry());
        assert_explain([
            ("podman, mirror", &|| podman.pull_refused(HELLO, None)),
            ("podman", &|| podman.pull_refused(&image, None)),
        ])
    });
}

#[test]
fn skopeo_says_why() {
    with_testbed(|testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        take_down(testbed)?;
        let image = format!("{}/library/hello:latest", testbed.registry());
        assert_explain([
            ("skopeo, mirror", &|| skopeo.pull_refused(HELLO, None)),
            ("skopeo", &|| skopeo.pull_refused(&image, None)),
        ])
    });
}
