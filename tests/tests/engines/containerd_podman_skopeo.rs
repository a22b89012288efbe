//! containerd, podman and skopeo through the tunnel. They take accounts on their command lines.

use docxy_tests::{
    engine::{Containerd, Engine as _, Podman, Skopeo},
    stand_in::expected,
};
use hub_stand_in::Image;

use crate::support::{
    all_images::pull_all,
    testbed::{ALICE, OTHER, RegistryKind, with_testbed, with_testbed_on},
};

#[test]
fn containerd_pulls_multi_arch_five_layer_and_private_images() {
    with_testbed(|testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        pull_all(testbed, &containerd)?;
        assert_eq!(containerd.pull("docker.io/alice/private:latest", Some(ALICE))?, testbed.hub.private);
        Ok(())
    });
}

#[test]
fn containerd_pulls_from_a_mirror_with_the_registry_in_its_path() {
    with_testbed_on(RegistryKind::TwoRegistries, |testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        // containerd sends `ns` too, so both name the registry. The registry itself is out of reach.
        for registry in [OTHER, "docker.io"] {
            let mirror = format!("{}/v2/{registry}", testbed.client.url());
            containerd.mirror_with_path(registry, &format!("https://{registry}"), &mirror)?;
        }
        let image = expected(&Image::hello_from("owner/image")?);
        assert_eq!(containerd.pull(&format!("{OTHER}/owner/image:latest"), None)?, image);
        assert_eq!(containerd.pull("docker.io/library/hello:latest", None)?, testbed.hub.hello);
        Ok(())
    });
}

#[test]
fn podman_pulls_multi_arch_five_layer_and_private_images() {
    with_testbed(|testbed| {
        let podman = Podman::new(&testbed.lab.laptop, &testbed.registry())?;
        pull_all(testbed, &podman)?;
        podman.login(&testbed.registry(), ALICE)?;
        assert_eq!(podman.pull("docker.io/alice/private:latest", None)?, testbed.hub.private);
        Ok(())
    });
}

#[test]
fn skopeo_copies_multi_arch_five_layer_and_private_images() {
    with_testbed(|testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        pull_all(testbed, &skopeo)?;
        skopeo.login(&testbed.registry(), ALICE)?;
        assert_eq!(skopeo.pull("docker.io/alice/private:latest", None)?, testbed.hub.private);
        Ok(())
    });
}
