//! dockerd 20.10 through the tunnel: as a mirror, by name, and `docker login`.

use anyhow::Result;
use docxy_tests::engine::{Account, Dockerd};

use crate::world::{ALICE, World, in_a_new_world};

fn start(world: &World) -> Result<Dockerd> {
    Dockerd::start(&world.lab.laptop, &world.client.url())
}

#[test]
fn docker_pulls_a_multi_arch_image() {
    in_a_new_world(|world| {
        assert_eq!(start(world)?.pull("hello")?, world.hub.hello);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_five_layer_image() {
    in_a_new_world(|world| {
        let docker = start(world)?;
        let pulled = docker.pull("five")?;
        assert_eq!(pulled, world.hub.five);
        assert_eq!(pulled.layers.len(), 5);
        docker.remove("five")?;
        assert_eq!(docker.pull(&format!("{}/library/five", world.registry()))?, world.hub.five);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_private_image_only_after_a_login() {
    in_a_new_world(|world| {
        let docker = start(world)?;
        let private = format!("{}/alice/private", world.registry());

        let refusal = docker.pull_refused(&private)?;
        assert!(refusal.contains("requested access to the resource is denied"), "{refusal}");

        let wrong = Account { password: "through the looking-glass", ..ALICE };
        let refusal = docker.login_refused(&world.registry(), wrong)?;
        assert!(refusal.contains("incorrect username or password"), "{refusal}");

        let said = docker.login(&world.registry(), ALICE)?;
        assert!(said.contains("Login Succeeded"), "{said}");
        assert_eq!(docker.pull(&private)?, world.hub.private);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_private_image_with_the_hub_account_it_remembers() {
    in_a_new_world(|world| {
        let docker = start(world)?;
        docker.remember_hub_account(ALICE)?;
        assert_eq!(docker.pull("alice/private")?, world.hub.private);
        Ok(())
    });
}
