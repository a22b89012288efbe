//! Every engine again, with a real registry process at the end of the way instead of the stand-in's own registry.

use docxy_tests::engine::{Containerd, Dockerd, Podman, Skopeo};

use crate::others::pull_all;
use crate::world::{ALICE, Behind, in_a_world_with};

#[test]
fn docker_pulls_from_a_real_registry() {
    in_a_world_with(Behind::RealRegistry, |world| {
        let docker = Dockerd::start(&world.lab.laptop, &world.client.url())?;
        assert_eq!(docker.pull("hello")?, world.hub.hello);
        assert_eq!(docker.pull("five")?, world.hub.five);
        let private = format!("{}/alice/private", world.registry());
        docker.pull_refused(&private)?;
        docker.login(&world.registry(), ALICE)?;
        assert_eq!(docker.pull(&private)?, world.hub.private);
        Ok(())
    });
}

#[test]
fn containerd_podman_and_skopeo_pull_from_a_real_registry() {
    in_a_world_with(Behind::RealRegistry, |world| {
        pull_all(world, &Containerd::start(&world.lab.laptop, &world.client.url())?)?;
        pull_all(world, &Podman::new(&world.lab.laptop, &world.registry())?)?;
        pull_all(world, &Skopeo::new(&world.lab.laptop, &world.registry())?)
    });
}
