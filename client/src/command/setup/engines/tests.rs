//! What each engine's files become on an empty machine, and what depends on versions.

use super::*;
use crate::command::setup::machine::{Docker, DockerStore, ServiceManager, Version};
use docxy_protocol::name::Registry;
use std::path::Path;

fn target(registries: &[&str]) -> Target {
    let registries = registries.iter().map(|name| name.parse().unwrap()).collect();
    Target { via: None, port: 5080, registries, keep_fallback: false }
}

fn root() -> Machine {
    Machine { is_root: true, home: "/root".into(), ..Machine::default() }
}

/// The files with their content on a machine without them.
fn files(name: &str, target: &Target, machine: &Machine) -> Vec<(String, String)> {
    let plan = Engine::named(name).unwrap().plan(target, machine).unwrap();
    let text = |file: &crate::command::setup::FileChanges| {
        let text = file.format.apply("", &file.changes).unwrap();
        let body = text.lines().filter(|line| !line.starts_with("# Written")).collect::<Vec<_>>().join("\n");
        (file.path.display().to_string(), body)
    };
    plan.files.iter().map(text).collect()
}

fn docker(version: (u32, u32), store: DockerStore) -> Machine {
    let version = Some(Version(version.0, version.1, 0));
    let docker = Docker { version, store, is_rootless: false, is_desktop: false, mirrors: String::new() };
    Machine { docker: Some(docker), ..root() }
}

#[test]
fn every_engine_has_a_plan_and_a_test_for_all_registries() {
    let named = |name| Engine::named(name).map(|engine| engine.name);
    assert_eq!(
        [named("buildah"), named("crio"), named("buildkit")],
        [Some("podman"), Some("cri-o"), Some("buildkitd")]
    );
    for engine in ENGINES {
        for keep_fallback in [false, true] {
            let registries = Registry::well_known().collect();
            let target = Target { keep_fallback, registries, ..target(&[]) };
            for machine in [
                root(),
                Machine {
                    home: "/home/me".into(),
                    config_home: "/home/me/.config".into(),
                    ..Machine::default()
                },
            ] {
                let plan = engine.plan(&target, &machine).unwrap();
                assert!(!plan.files.is_empty() || !plan.notes.is_empty(), "{engine:?}");
                assert!(!plan.test.is_empty(), "{engine:?}");
                let is_told = plan.notes.iter().any(|note| note.contains("without sudo"));
                let is_of_root = plan.files.iter().any(|file| file.path.starts_with("/root"));
                assert_eq!(is_told, is_of_root, "{engine:?}");
                for file in &plan.files {
                    assert!(file.path.is_absolute(), "{engine:?}");
                    file.format.apply("", &file.changes).unwrap();
                }
            }
        }
    }
}

#[test]
fn pulls_ask_docxy_alone_and_pushes_the_registry() {
    let hosts = "server = \"https://registry-1.docker.io\"\ncapabilities = [\"push\"]\n\n\
                 [host.\"http://127.0.0.1:5080\"]\ncapabilities = [\"pull\", \"resolve\"]";
    let machine = docker((28, 5), DockerStore::Containerd);
    let path = "/etc/docker/certs.d/docker.io/hosts.toml".to_owned();
    assert_eq!(files("docker", &target(&["docker.io"]), &machine), [(path, hosts.to_owned())]);

    let target =
        Target { via: Some("host.lima.internal".into()), keep_fallback: true, ..target(&["ghcr.io"]) };
    let machine = Machine { programs: [("containerd", Some(Version(2, 2, 0)))].into(), ..root() };
    let hosts = "server = \"https://ghcr.io\"\ncapabilities = [\"pull\", \"resolve\", \"referrers\", \"push\"]\n\n\
                 [host.\"http://host.lima.internal:5080\"]\ncapabilities = [\"pull\", \"resolve\", \"referrers\"]";
    let path = "/etc/containerd/certs.d/ghcr.io/hosts.toml".to_owned();
    assert_eq!(files("containerd", &target, &machine)[1], (path, hosts.to_owned()));

    let podman = "[[registry]]\ninsecure = true\nlocation = \"127.0.0.1:5080\"\n\n\
                  [[registry]]\nlocation = \"127.0.0.1:5080/ghcr.io\"\nprefix = \"ghcr.io\"\n\n[[registry.mirror]]\n\
                  insecure = true\nlocation = \"127.0.0.1:5080/ghcr.io\"";
    let path = "/etc/containers/registries.conf.d/99-docxy.conf".to_owned();
    assert_eq!(files("podman", &self::target(&["ghcr.io"]), &root()), [(path, podman.to_owned())]);
}

#[test]
fn dockers_store_and_version_decide_its_files() {
    let paths = |machine: &Machine| -> Vec<String> {
        let target = target(&["docker.io", "ghcr.io"]);
        files("docker", &target, machine)
            .into_iter()
            .map(|(path, _)| path.replace("/etc/docker/", ""))
            .collect()
    };
    let [hub, ghcr, daemon] = ["certs.d/docker.io/hosts.toml", "certs.d/ghcr.io/hosts.toml", "daemon.json"];
    assert_eq!(paths(&docker((20, 10), DockerStore::Classic)), [daemon]);
    assert_eq!(paths(&docker((27, 0), DockerStore::Containerd)), [daemon]);
    assert_eq!(paths(&docker((28, 0), DockerStore::Classic)), [hub, ghcr, daemon], "for docker build too");
    assert_eq!(paths(&docker((28, 0), DockerStore::Containerd)), [hub, ghcr]);
    assert_eq!(paths(&root()), [hub, ghcr, daemon], "not known");
    let referrers = |version| {
        files("docker", &target(&["ghcr.io"]), &docker(version, DockerStore::Containerd))[0]
            .1
            .contains("referrers")
    };
    assert!(referrers((29, 1)) && !referrers((29, 0)));
    // An image named by another machine's client.
    let far = Target { via: Some("box.lan".into()), ..target(&["docker.io"]) };
    let (near, far) = (files("docker", &target(&["docker.io"]), &root()), files("docker", &far, &root()));
    let is_insecure = |files: &[(String, String)]| files[1].1.contains("insecure-registries");
    assert!(is_insecure(&far) && !is_insecure(&near));
}

#[test]
fn containerds_config_path_is_set_where_it_is_not() {
    let plan = |version: (u32, u32), config: Option<&str>| {
        let programs = [("containerd", Some(Version(version.0, version.1, 0)))].into();
        let machine = Machine { programs, containerd_config: config.map(str::to_owned), ..root() };
        Engine::named("containerd").unwrap().plan(&target(&["docker.io"]), &machine)
    };
    let config = |version, config: Option<&str>| {
        let plan = plan(version, config).unwrap();
        let file = plan.files.iter().find(|file| file.path.ends_with("config.toml"))?;
        Some(file.format.apply(config.unwrap_or(""), &file.changes).unwrap())
    };
    let v2 = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
    let v3 =
        "[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
    let list = |more: &str| {
        format!(
            "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\n{more}{}",
            v3.replace("certs.d", "certs.d:/etc/docker/certs.d")
        )
    };
    for (version, text, expected) in [
        ((1, 6), None, Some(v2)),
        ((2, 1), None, Some(v3)),
        ((2, 2), None, Some(v3)),
        ((2, 1), Some(&*list("")), Some(v3)),
        ((2, 1), Some(&*list("use_local_image_pull = true\n")), None),
        ((2, 0), Some(&*list("")), None),
        ((2, 1), Some("version = 2\n"), Some(v2)),
        ((1, 6), Some("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), None),
        ((1, 7), Some("disabled_plugins = [\"cri\"]\n"), None),
        ((1, 6), Some("[plugins.cri]\n"), Some("[plugins.cri.registry]\n")),
    ] {
        let changed = config(version, text);
        assert_eq!(changed.is_some(), expected.is_some(), "{text:?}");
        assert!(changed.unwrap_or_default().contains(expected.unwrap_or("")), "{text:?}");
    }
    let table = |key: &str| format!("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry{key}\n");
    let set = plan((1, 7), Some(&table("]\nconfig_path = \"/my/certs:/other\""))).unwrap();
    let paths: Vec<&Path> = set.files.iter().map(|file| file.path.as_path()).collect();
    assert_eq!(paths, [Path::new("/my/certs/docker.io/hosts.toml")]);
    let refused = plan((1, 7), Some(&table(".mirrors.\"ghcr.io\"]\nendpoint = [\"http://x\"]"))).unwrap_err();
    assert!(refused.to_string().contains("ghcr.io"), "{refused}");
}

#[test]
fn an_engine_is_reloaded_as_it_runs_here() {
    let text = |name: &str, manager, dockerd| {
        let machine = Machine { manager, dockerd, ..root() };
        let plan = Engine::named(name).unwrap().plan(&target(&["docker.io"]), &machine).unwrap();
        plan.reload.unwrap().text()
    };
    let known = |text: &str| Some(text.to_owned());
    assert_eq!(text("docker", ServiceManager::Systemd, Some(7)), known("systemctl reload docker"));
    assert_eq!(text("docker", ServiceManager::OpenRc, Some(7)), known("kill -HUP 7"));
    assert_eq!(text("docker", ServiceManager::Unknown, Some(7)), known("kill -HUP 7"));
    assert_eq!(text("docker", ServiceManager::Unknown, None), None);
    assert_eq!(text("containerd", ServiceManager::OpenRc, None), known("rc-service containerd restart"));
    assert_eq!(text("k3s", ServiceManager::Unknown, Some(7)), None);
}

#[test]
fn a_byte_order_mark_is_refused_before_docker_23() {
    let refuses = |version| {
        let machine = docker(version, DockerStore::Classic);
        let plan = Engine::named("docker").unwrap().plan(&target(&["docker.io"]), &machine).unwrap();
        plan.files.iter().find(|file| file.path.ends_with("daemon.json")).unwrap().refuses_mark
    };
    assert_eq!([refuses((20, 10)), refuses((23, 0))], [true, false]);
}

#[test]
fn an_address_has_the_port_of_the_client_unless_it_names_one() {
    for (via, expected) in [
        (None, "127.0.0.1:5080"),
        (Some("box.lan"), "box.lan:5080"),
        (Some("box.lan:81"), "box.lan:81"),
        (Some("[fd00::1]"), "[fd00::1]:5080"),
        (Some("[fd00::1]:81"), "[fd00::1]:81"),
    ] {
        let target = Target { via: via.map(str::to_owned), ..target(&["docker.io"]) };
        assert_eq!(target.address("127.0.0.1"), expected);
    }
}
