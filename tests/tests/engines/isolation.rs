//! The one way from the laptop to the stand-in is the tunnel: without this, a pull would prove nothing.

use std::time::Duration;

use docxy_tests::{
    engine::{Engine, Skopeo},
    net::Lab,
    process::run,
};

use crate::world::in_a_new_world;

#[test]
fn the_laptop_has_no_way_to_the_stand_in_but_the_tunnel() {
    in_a_new_world(|world| {
        for address in world.hub.addresses() {
            assert_eq!(world.lab.abroad.connect_error(address)?, None, "the server reaches {address}");
            let refusal = world.lab.laptop.connect_error(address)?.unwrap_or_default();
            assert!(refusal.contains("Network is unreachable"), "{address}: {refusal:?}");
        }

        // Even a laptop that knows where to go is not led there.
        let mut route = world.lab.laptop.command("ip");
        route.args(["route", "add", "default", "via", &Lab::ABROAD.to_string()]);
        run(route, Duration::from_secs(5))?.succeeded()?;
        for address in world.hub.addresses() {
            assert_eq!(world.lab.laptop.connect_error(address)?.as_deref(), Some("no answer"), "{address}");
        }

        // And yet it pulls: all that the stand-in ever saw is the server.
        let skopeo = Skopeo::new(&world.lab.laptop, &world.registry())?;
        assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, world.hub.hello);
        let peers: Vec<_> = world.hub.journal()?.iter().map(|entry| entry.peer.ip()).collect();
        assert!(!peers.is_empty() && peers.iter().all(|peer| *peer == Lab::ABROAD_TO_HUB), "{peers:?}");
        Ok(())
    });
}

#[test]
fn nothing_is_pulled_once_the_server_is_gone() {
    in_a_new_world(|world| {
        let skopeo = Skopeo::new(&world.lab.laptop, &world.registry())?;
        assert_eq!(skopeo.pull("docker.io/library/hello:latest", None)?, world.hub.hello);
        world.server.stop()?;
        let seen = world.hub.journal()?.len();
        let refusal = skopeo.pull_refused("docker.io/library/five:latest", None)?;
        assert!(refusal.contains("registry-1.docker.io") || refusal.contains("503"), "{refusal}");
        assert_eq!(world.hub.journal()?.len(), seen, "the stand-in saw a request");
        Ok(())
    });
}
