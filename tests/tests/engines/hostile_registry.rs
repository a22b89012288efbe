//! Real engines with a Docker Hub account pull from another registry, whose challenges ask for Docker Hub's tokens: they
//! pull what is public, and the registry receives no credential. The account exists there too and would open
//! `owner/private`.

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine, Podman, Pulled, Skopeo},
    hub::{Entry, Image},
    stand_in::{StandIn, wanted},
};

use crate::world::{ALICE, Behind, OTHER, World, in_a_world_with};

fn image() -> Result<Pulled> {
    Ok(wanted(&Image::hello_from("owner/image")?))
}

/// An image of the other registry, named through the client's address.
fn by_path(world: &World, repository: &str) -> String {
    format!("{}/{OTHER}/{repository}:latest", world.registry())
}

fn other(world: &World) -> Result<&StandIn> {
    world.other.as_ref().context("there is no other registry")
}

/// Pulls the public image, tries the private one, and asserts that no credential of Docker Hub was used.
fn assert_no_credential_leaks(
    world: &World,
    pull: impl FnOnce(&str) -> Result<Pulled>,
    refused: impl FnOnce(&str) -> Result<String>,
    name: impl Fn(&str) -> String,
) -> Result<()> {
    world.hub.clear_journal()?;
    other(world)?.clear_journal()?;
    assert_eq!(pull(&name("owner/image"))?, image()?);
    refused(&name("owner/private"))?;
    let (theirs, hubs) = (other(world)?.journal()?, world.hub.journal()?);
    ensure!(
        theirs.iter().any(|entry| entry.path.contains("owner/private")),
        "the private image was not requested: {theirs:#?}"
    );
    let leaks = |entry: &&Entry| {
        entry.authorization_scheme() == Some("Basic") || format!("{entry:?}").contains(ALICE.password)
    };
    let leaked: Vec<_> = theirs.iter().filter(leaks).collect();
    ensure!(leaked.is_empty(), "the other registry received a password: {leaked:#?}");
    // No request to Docker Hub means that the engine got no token from there.
    ensure!(hubs.is_empty(), "Docker Hub received a request: {hubs:#?}");
    Ok(())
}

#[test]
fn containerd_leaks_no_docker_hub_credential_to_another_registry() {
    in_a_world_with(Behind::TwoRegistries, |world| {
        let containerd = Containerd::start(&world.lab.laptop, &world.client.url())?;
        containerd.mirror(OTHER, &format!("https://{OTHER}"), &world.client.url())?;
        let pull = |image: &str| containerd.pull(image, Some(ALICE));
        let refused = |image: &str| containerd.pull_refused(image, Some(ALICE));
        assert_no_credential_leaks(world, pull, refused, |name| format!("{OTHER}/{name}:latest"))?;
        assert_no_credential_leaks(world, pull, refused, |name| by_path(world, name))
    });
}

#[test]
fn docker_leaks_no_docker_hub_credential_to_another_registry() {
    in_a_world_with(Behind::TwoRegistries, |world| {
        let docker = Dockerd::start(&world.lab.laptop, &world.client.url())?;
        docker.login(&world.registry(), ALICE)?;
        let (pull, refused) = (|image: &str| docker.pull(image), |image: &str| docker.pull_refused(image));
        assert_no_credential_leaks(world, pull, refused, |name| by_path(world, name))?;
        // Private images of Docker Hub can still be pulled.
        let private = format!("{}/alice/private", world.registry());
        assert_eq!(docker.pull(&private)?, world.hub.private);
        Ok(())
    });
}

#[test]
fn podman_leaks_no_docker_hub_credential_to_another_registry() {
    in_a_world_with(Behind::TwoRegistries, |world| {
        let podman = Podman::new(&world.lab.laptop, &world.registry())?;
        podman.login(&world.registry(), ALICE)?;
        let pull = |image: &str| podman.pull(image, None);
        let refused = |image: &str| podman.pull_refused(image, None);
        assert_no_credential_leaks(world, pull, refused, |name| by_path(world, name))
    });
}

#[test]
fn skopeo_leaks_no_docker_hub_credential_to_another_registry() {
    in_a_world_with(Behind::TwoRegistries, |world| {
        let skopeo = Skopeo::new(&world.lab.laptop, &world.registry())?;
        skopeo.login(&world.registry(), ALICE)?;
        let pull = |image: &str| skopeo.pull(image, None);
        let refused = |image: &str| skopeo.pull_refused(image, None);
        assert_no_credential_leaks(world, pull, refused, |name| by_path(world, name))
    });
}
