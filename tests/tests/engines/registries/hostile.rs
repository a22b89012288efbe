//! Real engines with a Docker Hub account pull from another registry, whose challenges ask for Docker Hub's tokens: they
//! pull what is public, and the registry receives no credential. The account exists there too and would open
//! `owner/private`.

use anyhow::{Context, Result, ensure};
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine, Podman, PulledImage, Skopeo},
    stand_in::{StandIn, expected},
};
use hub_stand_in::{Image, LoggedRequest};

use crate::support::testbed::{ALICE, OTHER, RegistryKind, Testbed, with_testbed_on};

fn image() -> Result<PulledImage> {
    Ok(expected(&Image::hello_from("owner/image")?))
}

/// An image of the other registry, named through the client's address.
fn by_path(testbed: &Testbed, repository: &str) -> String {
    format!("{}/{OTHER}/{repository}:latest", testbed.registry())
}

fn other(testbed: &Testbed) -> Result<&StandIn> {
    testbed.other.as_ref().context("there is no other registry")
}

/// Pulls the public image, tries the private one, and asserts that no credential of Docker Hub was used.
fn assert_no_credential_leaks(
    testbed: &Testbed,
    pull: impl FnOnce(&str) -> Result<PulledImage>,
    refused: impl FnOnce(&str) -> Result<String>,
    name: impl Fn(&str) -> String,
) -> Result<()> {
    testbed.hub.clear_request_log()?;
    other(testbed)?.clear_request_log()?;
    assert_eq!(pull(&name("owner/image"))?, image()?);
    let refusal = refused(&name("owner/private"))?;
    // Its user reads why, and what to do.
    ensure!(
        refusal.contains(&format!("docxy: {OTHER} denied anonymous access to owner/private"))
            && refusal.contains("The credential given to docxy was not sent")
            && refusal.contains("Check the name."),
        "{refusal}"
    );
    let (theirs, hubs) = (other(testbed)?.request_log()?, testbed.hub.request_log()?);
    ensure!(
        theirs.iter().any(|entry| entry.path.contains("owner/private")),
        "the private image was not requested: {theirs:#?}"
    );
    let leaks = |entry: &&LoggedRequest| {
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
    with_testbed_on(RegistryKind::TwoRegistries, |testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        containerd.mirror(OTHER, &format!("https://{OTHER}"), &testbed.client.url())?;
        let pull = |image: &str| containerd.pull(image, Some(ALICE));
        let refused = |image: &str| containerd.pull_refused(image, Some(ALICE));
        assert_no_credential_leaks(testbed, pull, refused, |name| format!("{OTHER}/{name}:latest"))?;
        assert_no_credential_leaks(testbed, pull, refused, |name| by_path(testbed, name))
    });
}

#[test]
fn docker_leaks_no_docker_hub_credential_to_another_registry() {
    with_testbed_on(RegistryKind::TwoRegistries, |testbed| {
        let docker = Dockerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        docker.login(&testbed.registry(), ALICE)?;
        let (pull, refused) = (|image: &str| docker.pull(image), |image: &str| docker.pull_refused(image));
        assert_no_credential_leaks(testbed, pull, refused, |name| by_path(testbed, name))?;
        // Private images of Docker Hub can still be pulled.
        let private = format!("{}/alice/private", testbed.registry());
        assert_eq!(docker.pull(&private)?, testbed.hub.private);
        Ok(())
    });
}

#[test]
fn podman_leaks_no_docker_hub_credential_to_another_registry() {
    with_testbed_on(RegistryKind::TwoRegistries, |testbed| {
        let podman = Podman::new(&testbed.lab.laptop, &testbed.registry())?;
        podman.login(&testbed.registry(), ALICE)?;
        let pull = |image: &str| podman.pull(image, None);
        let refused = |image: &str| podman.pull_refused(image, None);
        assert_no_credential_leaks(testbed, pull, refused, |name| by_path(testbed, name))
    });
}

#[test]
fn skopeo_leaks_no_docker_hub_credential_to_another_registry() {
    with_testbed_on(RegistryKind::TwoRegistries, |testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        skopeo.login(&testbed.registry(), ALICE)?;
        let pull = |image: &str| skopeo.pull(image, None);
        let refused = |image: &str| skopeo.pull_refused(image, None);
        assert_no_credential_leaks(testbed, pull, refused, |name| by_path(testbed, name))
    });
}
