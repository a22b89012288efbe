//! How many requests cross the tunnel when a real engine pulls: each costs the user a round trip.

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::exchanges_with,
    engine::{Containerd, Dockerd, Engine, Podman, Skopeo},
    process::PROCESS_TIMEOUT,
};

use crate::support::testbed::{Testbed, with_testbed};

/// Pulls `library/hello` twice, with one request each. Its single small layer is prefetched, so the first pull
/// needs one request for all content, and the second one to see that the tag has not changed. `others` is the
/// number of platforms that the engine pulls in addition to this machine's.
fn assert_one_request_each(
    testbed: &mut Testbed,
    others: usize,
    pull: impl Fn(&Testbed) -> Result<()>,
) -> Result<()> {
    for _ in 0..2 {
        pull(testbed)?;
    }
    let fetched = testbed.hub.request_log()?;
    let fetched = fetched.iter().filter(|entry| entry.method == "GET" && entry.path.contains("/manifests/"));
    let fetched = fetched.count();
    let is_idle = |status: &serde_json::Value| status["streams"] == 0 && status["exchanges"] == 0;
    let status = testbed.server.wait_for_status("end its exchanges", PROCESS_TIMEOUT, is_idle)?;
    let requests = exchanges_with(&status, "answered");
    ensure!(requests == 2 + others as u64, "{requests} requests crossed the tunnel: {status:#}");
    ensure!(fetched == 2 + others, "index and manifest are fetched once each, not {fetched} times");
    Ok(())
}

#[test]
fn a_pull_by_dockerd_takes_one_request() {
    with_testbed(|testbed| {
        let docker = Dockerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        assert_one_request_each(testbed, 0, |testbed| {
            ensure!(docker.pull("hello")? == testbed.hub.hello);
            Ok(())
        })
    });
}

#[test]
fn a_pull_by_containerd_takes_one_request() {
    with_testbed(|testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        assert_one_request_each(testbed, 0, |testbed| pull_hello(testbed, &containerd))
    });
}

#[test]
fn a_pull_by_podman_takes_one_request() {
    with_testbed(|testbed| {
        let podman = Podman::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_one_request_each(testbed, 0, |testbed| pull_hello(testbed, &podman))
    });
}

#[test]
fn a_copy_by_skopeo_takes_one_request_for_each_platform() {
    with_testbed(|testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_one_request_each(testbed, 1, |testbed| pull_hello(testbed, &skopeo))
    });
}

fn pull_hello(testbed: &Testbed, engine: &impl Engine) -> Result<()> {
    ensure!(engine.pull("docker.io/library/hello:latest", None)? == testbed.hub.hello);
    Ok(())
}
