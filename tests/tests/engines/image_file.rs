//! `docxy-client pull`: engines on a machine without a network load the file that it writes.

use std::time::Duration;

use anyhow::Context;
use docxy_tests::{
    engine::{Dockerd, Podman},
    process::{run, scratch},
};

use crate::support::testbed::with_testbed;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The address of a mirror that does not exist: loading needs none.
const NO_MIRROR: &str = "127.0.0.1:1";

#[test]
fn docker_and_podman_load_the_tar_that_pull_makes() {
    with_testbed(|testbed| {
        let folder = scratch()?;
        let tar = folder.path().join("five.tar");
        let path = tar.to_str().context("the temporary folder's path is not UTF-8")?;
        let output = testbed.client.command(&["pull", "five", "--output", path], COMMAND_TIMEOUT)?;
        assert!(output.contains(&testbed.hub.five.digest), "{output}");

        // docker identifies a loaded image by its config alone.
        let docker = Dockerd::start(&testbed.lab.laptop, &format!("http://{NO_MIRROR}"))?;
        assert_eq!(docker.load(&tar)?, ["five:latest"]);
        let id = run(docker.docker(&["image", "inspect", "--format", "{{.Id}}", "five"]), COMMAND_TIMEOUT)?
            .succeeded()?;
        assert_eq!(id.trim(), testbed.hub.five.config);

        let podman = Podman::new(&testbed.lab.laptop, NO_MIRROR)?;
        assert_eq!(podman.load(&tar)?, ["docker.io/library/five:latest"]);
        let loaded = podman.inspect("docker.io/library/five:latest")?;
        assert_eq!(
            (loaded.config, loaded.layers),
            (testbed.hub.five.config.clone(), testbed.hub.five.layers.clone())
        );
        Ok(())
    });
}
