//! `docxy-client pull`: the file that it makes is taken by the engines of a machine that has no network at all.

use std::time::Duration;

use anyhow::Context;
use docxy_tests::{
    engine::{Dockerd, Podman},
    process::{run, scratch},
};

use crate::world::in_a_new_world;

const PATIENCE: Duration = Duration::from_secs(30);

/// A mirror that nobody is behind: what is loaded is not pulled.
const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn docker_and_podman_load_the_tar_that_pull_makes() {
    in_a_new_world(|world| {
        let folder = scratch()?;
        let tar = folder.path().join("five.tar");
        let output = tar.to_str().context("a temporary folder has a plain name")?;
        let said = world.client.command(&["pull", "five", "--output", output], PATIENCE)?;
        assert!(said.contains(&world.hub.five.digest), "{said}");

        // docker knows an image that it has loaded by its config alone.
        let docker = Dockerd::start(&world.lab.laptop, &format!("http://{NOWHERE}"))?;
        assert_eq!(docker.load(&tar)?, ["five:latest"]);
        let id = run(docker.docker(&["image", "inspect", "--format", "{{.Id}}", "five"]), PATIENCE)?
            .succeeded()?;
        assert_eq!(id.trim(), world.hub.five.config);

        let podman = Podman::new(&world.lab.laptop, NOWHERE)?;
        assert_eq!(podman.load(&tar)?, ["docker.io/library/five:latest"]);
        let loaded = podman.inspect("docker.io/library/five:latest")?;
        assert_eq!(
            (loaded.config, loaded.layers),
            (world.hub.five.config.clone(), world.hub.five.layers.clone())
        );
        Ok(())
    });
}
