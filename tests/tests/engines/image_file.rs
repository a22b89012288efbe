//! `docxy-client pull`: the file that it makes is taken by the engines of a machine that has no network at all.

use std::time::Duration;

use anyhow::Context;
use docxy_tests::{
    engine::{Dockerd, Podman},
    process::{run, scratch},
};

use crate::testbed::with_testbed;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A mirror that nobody is registry_kind: what is loaded is not pulled.
const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn docker_and_podman_load_the_tar_that_pull_makes() {
    with_testbed(|testbed| {
        let folder = scratch()?;
        let tar = folder.path().join("five.tar");
        let output = tar.to_str().context("a temporary folder has a plain name")?;
        let said = testbed.client.command(&["pull", "five", "--output", output], COMMAND_TIMEOUT)?;
        assert!(said.contains(&testbed.hub.five.digest), "{said}");

        // docker knows an image that it has loaded by its config alone.
        let docker = Dockerd::start(&testbed.lab.laptop, &format!("http://{NOWHERE}"))?;
        assert_eq!(docker.load(&tar)?, ["five:latest"]);
        let id = run(docker.docker(&["image", "inspect", "--format", "{{.Id}}", "five"]), COMMAND_TIMEOUT)?
            .succeeded()?;
        assert_eq!(id.trim(), testbed.hub.five.config);

        let podman = Podman::new(&testbed.lab.laptop, NOWHERE)?;
        assert_eq!(podman.load(&tar)?, ["docker.io/library/five:latest"]);
        let loaded = podman.inspect("docker.io/library/five:latest")?;
        assert_eq!(
            (loaded.config, loaded.layers),
            (testbed.hub.five.config.clone(), testbed.hub.five.layers.clone())
        );
        Ok(())
    });
}
