//! How many exchanges cross the tunnel when a real engine pulls: each is a round trip that somebody far away waits for.

use anyhow::{Result, ensure};
use docxy_tests::engine::{Containerd, Dockerd, Engine, Podman, Skopeo};

use crate::testbed::{Testbed, with_testbed};

/// `library/hello` has one layer, so small that it comes ahead: the first pull crosses once for all of it, the second
/// once to see that nothing has changed. `others` are platforms that the engine takes beside this machine's.
fn assert_one_round_trip_each(
    testbed: &mut Testbed,
    others: usize,
    pull: impl Fn(&Testbed) -> Result<()>,
) -> Result<()> {
    for _ in 0..2 {
        pull(testbed)?;
    }
    let paid = testbed.hub.request_log()?;
    let paid = paid.iter().filter(|entry| entry.method == "GET" && entry.path.contains("/manifests/"));
    let paid = paid.count();
    // It ends only after what is under way, and everything is in its log then.
    testbed.server.stop()?;
    let log = testbed.server.process().log();
    let exchanges = log.lines().filter(|line| line.contains("operation="));
    let crossed: Vec<_> = exchanges.filter(|line| line.contains(" answered ")).collect();
    ensure!(crossed.len() == 2 + others, "{} exchanges crossed:\n{}", crossed.len(), crossed.join("\n"));
    ensure!(paid == 2 + others, "index and manifest are paid for once each, not {paid} times");
    Ok(())
}

#[test]
fn a_pull_by_dockerd_crosses_once() {
    with_testbed(|testbed| {
        let docker = Dockerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        assert_one_round_trip_each(testbed, 0, |testbed| {
            ensure!(docker.pull("hello")? == testbed.hub.hello);
            Ok(())
        })
    });
}

#[test]
fn a_pull_by_containerd_crosses_once() {
    with_testbed(|testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        assert_one_round_trip_each(testbed, 0, |testbed| pull_hello(testbed, &containerd))
    });
}

#[test]
fn a_pull_by_podman_crosses_once() {
    with_testbed(|testbed| {
        let podman = Podman::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_one_round_trip_each(testbed, 0, |testbed| pull_hello(testbed, &podman))
    });
}

#[test]
fn a_copy_by_skopeo_crosses_once_for_each_platform() {
    with_testbed(|testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_one_round_trip_each(testbed, 1, |testbed| pull_hello(testbed, &skopeo))
    });
}

fn pull_hello(testbed: &Testbed, engine: &impl Engine) -> Result<()> {
    ensure!(engine.pull("docker.io/library/hello:latest", None)? == testbed.hub.hello);
    Ok(())
}
