//! containerd, podman and skopeo through the tunnel. They take accounts on their command lines.

use docxy_tests::engine::{Containerd, Engine as _, Podman, Skopeo};

use crate::support::{
    all_images::pull_all,
    testbed::{ALICE, with_testbed},
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
