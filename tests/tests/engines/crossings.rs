//! How many exchanges cross the tunnel when a real engine pulls: each is a round trip that somebody far away waits for.

use anyhow::{Result, ensure};
use docxy_tests::engine::{Containerd, Dockerd, Engine, Podman, Skopeo};

use crate::world::{World, in_a_new_world};

/// `library/hello` has one layer, so small that it comes ahead: the first pull crosses once for all of it, the second
/// once to see that nothing has changed. `others` are platforms that the engine takes beside this machine's.
fn assert_each_crosses_once(
    world: &mut World,
    others: usize,
    pull: impl Fn(&World) -> Result<()>,
) -> Result<()> {
    for _ in 0..2 {
        pull(world)?;
    }
    let paid = world.hub.journal()?;
    let paid = paid.iter().filter(|entry| entry.method == "GET" && entry.path.contains("/manifests/"));
    let paid = paid.count();
    // It ends only after what is under way, and everything is in its log then.
    world.server.stop()?;
    let log = world.server.process().log();
    let exchanges = log.lines().filter(|line| line.contains("operation="));
    let crossed: Vec<_> = exchanges.filter(|line| line.contains(" answered ")).collect();
    ensure!(crossed.len() == 2 + others, "{} exchanges crossed:\n{}", crossed.len(), crossed.join("\n"));
    ensure!(paid == 2 + others, "index and manifest are paid for once each, not {paid} times");
    Ok(())
}

#[test]
fn a_pull_by_dockerd_crosses_once() {
    in_a_new_world(|world| {
        let docker = Dockerd::start(&world.lab.laptop, &world.client.url())?;
        assert_each_crosses_once(world, 0, |world| {
            ensure!(docker.pull("hello")? == world.hub.hello);
            Ok(())
        })
    });
}

#[test]
fn a_pull_by_containerd_crosses_once() {
    in_a_new_world(|world| {
        let containerd = Containerd::start(&world.lab.laptop, &world.client.url())?;
        assert_each_crosses_once(world, 0, |world| pull_hello(world, &containerd))
    });
}

#[test]
fn a_pull_by_podman_crosses_once() {
    in_a_new_world(|world| {
        let podman = Podman::new(&world.lab.laptop, &world.registry())?;
        assert_each_crosses_once(world, 0, |world| pull_hello(world, &podman))
    });
}

#[test]
fn a_copy_by_skopeo_crosses_once_for_each_platform() {
    in_a_new_world(|world| {
        let skopeo = Skopeo::new(&world.lab.laptop, &world.registry())?;
        assert_each_crosses_once(world, 1, |world| pull_hello(world, &skopeo))
    });
}

fn pull_hello(world: &World, engine: &impl Engine) -> Result<()> {
    ensure!(engine.pull("docker.io/library/hello:latest", None)? == world.hub.hello);
    Ok(())
}
