//! dockerd 20.10 through the tunnel: with a mirror, with the client as the registry, and with `docker login`.

use anyhow::Result;
use docxy_tests::engine::{Account, Dockerd};

use crate::support::{
    all_images::by_login,
    testbed::{ALICE, Testbed, with_testbed},
};

fn start(testbed: &Testbed) -> Result<Dockerd> {
    Dockerd::start(&testbed.lab.laptop, &testbed.client.url())
}

#[test]
fn docker_pulls_a_multi_arch_image() {
    with_testbed(|testbed| {
        assert_eq!(start(testbed)?.pull("hello")?, testbed.hub.hello);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_five_layer_image() {
    with_testbed(|testbed| {
        let docker = start(testbed)?;
        let pulled = docker.pull("five")?;
        assert_eq!(pulled, testbed.hub.five);
        assert_eq!(pulled.layers.len(), 5);
        docker.remove("five")?;
        assert_eq!(docker.pull(&format!("{}/library/five", testbed.registry()))?, testbed.hub.five);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_private_image_only_after_a_login() {
    with_testbed(|testbed| {
        let docker = start(testbed)?;
        let private = format!("{}/alice/private", testbed.registry());

        let refusal = docker.pull_refused(&private)?;
        assert!(refusal.contains("requested access to the resource is denied"), "{refusal}");

        by_login(testbed, || docker.pull("alice/private"))?;
        docker.remove("alice/private")?;
        assert!(docker.pull_refused(&private).is_ok());

        let wrong = Account { password: "through the looking-glass", ..ALICE };
        let refusal = docker.login_refused(&testbed.registry(), wrong)?;
        assert!(refusal.contains("incorrect username or password"), "{refusal}");

        let output = docker.login(&testbed.registry(), ALICE)?;
        assert!(output.contains("Login Succeeded"), "{output}");
        assert_eq!(docker.pull(&private)?, testbed.hub.private);
        Ok(())
    });
}

#[test]
fn docker_pulls_a_private_image_with_a_stored_hub_account() {
    with_testbed(|testbed| {
        let docker = start(testbed)?;
        docker.remember_hub_account(ALICE)?;
        assert_eq!(docker.pull("alice/private")?, testbed.hub.private);
        Ok(())
    });
}
