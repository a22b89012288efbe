//! `docxy-client setup` on the engines' own config files: a pull by a plain name, a push to a registry process before and
//! after, and `--undo`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use docxy_tests::{
    engine::{Containerd, Dockerd, Engine as _, Podman, Registry, Sandbox},
    process::{binary, run},
};

use crate::support::testbed::{ALICE, Testbed, with_testbed};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A registry on the laptop that is set up too, so that a push to it would go to the client if it went wrong.
struct PushTarget(Registry);

impl PushTarget {
    fn start(testbed: &Testbed) -> Result<Self> {
        Ok(Self(Registry::start(&testbed.lab.laptop, IpAddr::V4(Ipv4Addr::LOCALHOST))?))
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/my/app:{tag}", self.0.address())
    }

    /// `docxy-client setup ENGINE` in the engine's sandbox.
    fn setup(
        &self,
        testbed: &Testbed,
        sandbox: &Sandbox,
        engine: &str,
        arguments: &[&str],
    ) -> Result<String> {
        let registry = self.0.address().to_string();
        let mut command = sandbox.command(binary("docxy-client")?);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin", sandbox.path("home/bin").display()));
        command.args(["setup", engine, "--via", &testbed.registry(), "--registry", "docker.io"]);
        command.args(["--registry", &registry]).args(arguments);
        run(command, TIMEOUT)?.succeeded()
    }
}

fn succeeds(command: Command) -> Result<()> {
    run(command, TIMEOUT)?.succeeded()?;
    Ok(())
}

/// A `systemctl` that knows `reload docker` only: here is no systemd.
fn write_systemctl(sandbox: &Sandbox) -> Result<()> {
    let script = "#!/bin/sh\n[ \"$*\" = 'reload docker' ] && kill -HUP \"$(cat /run/docker.pid)\"\n";
    let path = sandbox.write("home/bin/systemctl", script)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[test]
fn docker_is_set_up_reloaded_and_restored() {
    with_testbed(|testbed| {
        let target = PushTarget::start(testbed)?;
        let mut docker = Dockerd::unconfigured(&testbed.lab.laptop)?;
        write_systemctl(docker.sandbox())?;
        let config = docker.sandbox().path("etc/docker/daemon.json");
        let before = fs::read(&config)?;
        let push = |docker: &Dockerd, from: &str, tag: &str| {
            succeeds(docker.docker(&["tag", from, &target.image(tag)]))?;
            succeeds(docker.docker(&["push", &target.image(tag)]))?;
            docker.remove(&target.image(tag))
        };
        let by_name = format!("{}/library/hello", testbed.registry());
        docker.pull(&by_name)?;
        push(&docker, &by_name, "before")?;
        docker.remove(&by_name)?;
        docker.pull_refused("hello")?;

        target.setup(testbed, docker.sandbox(), "docker", &["--apply"])?;
        docker.wait_for_mirror()?;
        assert_eq!(docker.pull("hello")?, testbed.hub.hello);
        push(&docker, "hello", "after")?;

        target.setup(testbed, docker.sandbox(), "docker", &["--undo", "--apply"])?;
        assert_eq!(fs::read(&config)?, before);
        Ok(())
    });
}

#[test]
fn containerd_is_set_up_and_restored() {
    const CERTS: &str = "/etc/containerd/certs.d";
    with_testbed(|testbed| {
        let target = PushTarget::start(testbed)?;
        let containerd = Containerd::unconfigured(&testbed.lab.laptop)?;
        let config = containerd.sandbox().path("etc/containerd/config.toml");
        let before = fs::read(&config)?;
        let pull = |image: &str| containerd.ctr(&["--debug", "images", "pull", "--hosts-dir", CERTS, image]);
        let push = |from: &str, tag: &str| {
            let image = target.image(tag);
            let arguments =
                ["images", "push", "--platform", "linux/amd64", "--hosts-dir", CERTS, &image, from];
            succeeds(containerd.ctr(&arguments))
        };
        let by_name = format!("{}/library/hello:latest", testbed.registry());
        succeeds(containerd.ctr(&["--debug", "images", "pull", "--plain-http", &by_name]))?;
        push(&by_name, "before")?;

        target.setup(testbed, containerd.sandbox(), "containerd", &[])?;
        assert_eq!(target.setup(testbed, containerd.sandbox(), "containerd", &[])?, "", "a second time");
        let hello = "docker.io/library/hello:latest";
        succeeds(pull(hello))?;
        assert_eq!(containerd.inspect(hello)?, testbed.hub.hello);
        push(hello, "after")?;
        let mut dump = containerd.sandbox().command("containerd");
        dump.args(["config", "dump"]);
        let effective = run(dump, TIMEOUT)?.succeeded()?;
        assert!(effective.contains("config_path = \"/etc/containerd/certs.d\""), "{effective}");

        target.setup(testbed, containerd.sandbox(), "containerd", &["--undo"])?;
        assert_eq!(fs::read(&config)?, before);
        assert!(!containerd.sandbox().path("etc/containerd/certs.d").exists());
        Ok(())
    });
}

#[test]
fn podman_and_skopeo_are_set_up_and_restored() {
    with_testbed(|testbed| {
        let target = PushTarget::start(testbed)?;
        let podman = Podman::unconfigured(&testbed.lab.laptop)?;
        let push = |from: &str, tag: &str| {
            succeeds(podman.podman(&["push", "--tls-verify=false", from, &target.image(tag)]))
        };
        let by_name = format!("{}/library/hello", testbed.registry());
        succeeds(podman.podman(&["pull", "--tls-verify=false", &by_name]))?;
        push(&by_name, "before")?;

        target.setup(testbed, podman.sandbox(), "podman", &[])?;
        assert_eq!(podman.pull("docker.io/library/hello:latest", None)?, testbed.hub.hello);
        push("docker.io/library/hello:latest", "after")?;
        podman.login(&testbed.registry(), ALICE)?;
        assert_eq!(podman.pull("docker.io/alice/private:latest", None)?, testbed.hub.private);
        let push = podman.podman(&["push", "docker.io/library/hello:latest", "docker.io/my/app"]);
        let refusal = run(push, TIMEOUT)?.refused()?;
        assert!(refusal.contains("registry-1.docker.io"), "a push goes to the registry: {refusal}");
        let mut skopeo = podman.sandbox().command("skopeo");
        skopeo.args(["copy", "docker://docker.io/library/five"]);
        skopeo.arg(format!("dir:{}", podman.sandbox().path("five").display()));
        succeeds(skopeo)?;
        // The registry is never asked: the error is ours, and no other host's.
        let refusal = podman.pull_refused("docker.io/library/nosuch:latest", None)?;
        assert!(!refusal.contains("registry-1.docker.io"), "{refusal}");

        target.setup(testbed, podman.sandbox(), "podman", &["--undo"])?;
        assert!(!podman.sandbox().path("containers/registries.conf.d").exists());
        Ok(())
    });
}
