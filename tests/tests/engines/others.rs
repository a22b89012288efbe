//! containerd, podman and skopeo through the tunnel. They take accounts on their command lines.

use anyhow::Result;
use docxy_tests::engine::{Containerd, Engine, Podman, Skopeo};

use crate::world::{ALICE, World, in_a_new_world};

#[test]
fn containerd_pulls_multi_arch_five_layer_and_private_images() {
    in_a_new_world(|world| {
        let containerd = Containerd::start(&world.lab.laptop, &world.client.url())?;
        pull_all(world, &containerd)?;
        assert_eq!(containerd.pull("docker.io/alice/private:latest", Some(ALICE))?, world.hub.private);
        Ok(())
    });
}

#[test]
fn podman_pulls_multi_arch_five_layer_and_private_images() {
    in_a_new_world(|world| {
        let podman = Podman::new(&world.lab.laptop, &world.registry())?;
        pull_all(world, &podman)?;
        podman.login(&world.registry(), ALICE)?;
        assert_eq!(podman.pull("docker.io/alice/private:latest", None)?, world.hub.private);
        Ok(())
    });
}

#[test]
fn skopeo_copies_multi_arch_five_layer_and_private_images() {
    in_a_new_world(|world| {
        let skopeo = Skopeo::new(&world.lab.laptop, &world.registry())?;
        pull_all(world, &skopeo)?;
        skopeo.login(&world.registry(), ALICE)?;
        assert_eq!(skopeo.pull("docker.io/alice/private:latest", None)?, world.hub.private);
        Ok(())
    });
}

/// Public images by mirror and by naming the client as a registry, a private one by name: refused, then with an
/// account.
pub(crate) fn pull_all(world: &World, engine: &impl Engine) -> Result<()> {
    let client = world.registry();
    for registry in ["docker.io", &client] {
        let hello = format!("{registry}/library/hello:latest");
        assert_eq!(engine.pull(&hello, None)?, world.hub.hello, "{hello}");
        let five = format!("{registry}/library/five:latest");
        let pulled = engine.pull(&five, None)?;
        assert_eq!(pulled, world.hub.five, "{five}");
        assert_eq!(pulled.layers.len(), 5, "{five}");
    }
    let private = format!("{client}/alice/private:latest");
    let refusal = engine.pull_refused(&private, None)?;
    assert!(refusal.contains("denied") || refusal.contains("insufficient_scope"), "{refusal}");
    assert_eq!(engine.pull(&private, Some(ALICE))?, world.hub.private, "{private}");
    Ok(())
}
