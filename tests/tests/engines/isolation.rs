//! The tunnel is the only path from the laptop to the stand-in: without this, a pull would prove nothing.

use std::time::Duration;

use docxy_tests::{
    engine::{Engine, Skopeo},
    net::Lab,
    process::run,
};

use crate::support::testbed::with_testbed;

#[test]
fn the_tunnel_is_the_only_path_from_the_laptop_to_the_stand_in() {
    with_testbed(|testbed| {
        for address in testbed.hub.addresses() {
            assert_eq!(testbed.lab.abroad.connect_error(address)?, None, "the server reaches {address}");
            let refusal = testbed.lab.laptop.connect_error(address)?.unwrap_or_default();
            assert!(refusal.contains("Network is unreachable"), "{address}: {refusal:?}");
        }

        // A default route on the laptop does not help.
        let mut route = testbed.lab.laptop.command("ip");
        route.args(["route", "add", "default", "via", &Lab::ABROAD.to_string()]);
        run(route, Duration::from_secs(5))?.succeeded()?;
        for address in testbed.hub.addresses() {
            assert_eq!(testbed.lab.laptop.connect_error(address)?.as_deref(), Some("no answer"), "{address}");
        }

        // Yet the laptop can pull, and all requests at the stand-in come from the server.
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, testbed.hub.hello);
        let peers: Vec<_> = testbed.hub.request_log()?.iter().map(|entry| entry.peer.ip()).collect();
        assert!(!peers.is_empty() && peers.iter().all(|peer| *peer == Lab::ABROAD_TO_HUB), "{peers:?}");
        Ok(())
    });
}

#[test]
fn without_the_server_no_pull_succeeds() {
    with_testbed(|testbed| {
        let skopeo = Skopeo::new(&testbed.lab.laptop, &testbed.registry())?;
        assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, testbed.hub.hello);
        testbed.server.stop()?;
        let requests = testbed.hub.request_log()?.len();
        let refusal = skopeo.pull_refused("docker.io/library/five:latest", None)?;
        assert!(refusal.contains("registry-1.docker.io") || refusal.contains("503"), "{refusal}");
        assert_eq!(testbed.hub.request_log()?.len(), requests, "the stand-in received a request");
        Ok(())
    });
}
