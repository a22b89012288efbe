//! Every engine pulls from a real registry process instead of the stand-in's own registry.

use docxy_tests::engine::{Containerd, Dockerd, Podman, Skopeo};

use crate::support::all_images::pull_all;
use crate::support::testbed::{ALICE, RegistryKind, with_testbed_on};

#[test]
fn docker_pulls_from_a_real_registry() {
    with_testbed_on(RegistryKind::RealRegistry, |testbed| {
        let docker = Dockerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        assert_eq!(docker.pull("hello")?, testbed.hub.hello);
        assert_eq!(docker.pull("five")?, testbed.hub.five);
        let private = format!("{}/alice/private", testbed.registry());
        docker.pull_refused(&private)?;
        docker.login(&testbed.registry(), ALICE)?;
        assert_eq!(docker.pull(&private)?, testbed.hub.private);
        Ok(())
    });
}

#[test]
fn containerd_podman_and_skopeo_pull_from_a_real_registry() {
    with_testbed_on(RegistryKind::RealRegistry, |testbed| {
        pull_all(testbed, &Containerd::start(&testbed.lab.laptop, &testbed.client.url())?)?;
        pull_all(testbed, &Podman::new(&testbed.lab.laptop, &testbed.registry())?)?;
        pull_all(testbed, &Skopeo::new(&testbed.lab.laptop, &testbed.registry())?)
    });
}
