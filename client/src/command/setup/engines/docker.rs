//! dockerd.
//!
//! Its containerd store reads a `hosts.toml` for each registry at each pull, since 28. Its classic store knows mirrors of
//! Docker Hub only, in `daemon.json`.

use super::containerd::hosts_files;
use super::{PlanError, is_local, keys};
use crate::command::setup::change::Change;
use crate::command::setup::format::Format;
use crate::command::setup::machine::{DockerStore, Machine, Version};
use crate::command::setup::{FileChanges, Plan, Reload, Target};
use std::path::Path;

pub(super) fn docker(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let docker = machine.docker.as_ref();
    if docker.is_some_and(|docker| docker.is_desktop) {
        return Err(PlanError::DockerDesktop);
    }
    if docker.is_some_and(|docker| docker.is_rootless) && machine.is_root {
        return Err(PlanError::Rootless);
    }
    let is_rootless = docker.is_some_and(|docker| docker.is_rootless);
    let directory =
        if is_rootless { machine.config_home.join("docker") } else { Path::new("/etc/docker").into() };
    let version = docker.map_or_else(|| machine.version("dockerd"), |docker| docker.version);
    let store = docker.map(|docker| docker.store);
    let reads_hosts = version.is_none_or(|version| version >= Version(28, 0, 0));
    let is_classic = store != Some(DockerStore::Containerd) || !reads_hosts;

    let mut plan = Plan::default();
    if reads_hosts {
        let knows_referrers = version.is_some_and(|version| version >= Version(29, 1, 0));
        plan.files = hosts_files(&directory.join("certs.d"), target, knows_referrers);
        let what = if is_classic {
            "docker build, and pulls into the containerd store, read"
        } else {
            "docker reads"
        };
        plan.notes.push(format!("{what} hosts.toml each time: nothing to reload for it."));
    }
    let address = target.address("127.0.0.1");
    if is_classic && target.has_docker_hub() {
        let path = directory.join("daemon.json");
        let changes = mirror(&address);
        let mut file = FileChanges::new(path.clone(), Format::Json, changes);
        // Since 23 it skips one; 20.10 was tried.
        file.refuses_mark = version.is_some_and(|version| version < Version(23, 0, 0));
        plan.files.push(file);
        // At a reload it looks only at keys that are there (20.10 and 28).
        plan.undo_note = Some(
            "docker forgets its last mirror only when it is restarted; until then it asks Docxy, and then Docker Hub",
        );
        let effect = "containers go on running; a restart is not needed";
        plan.reload = Some(Reload {
            process: machine.dockerd,
            file: Some(path),
            ..Reload::by_manager(machine, "reload", "docker", effect, is_rootless)
        });
    }
    if is_classic {
        let store = match store {
            None if reads_hosts => "docker does not run, so its store is not known. The classic one",
            _ => "The classic store of docker",
        };
        plan.notes.push(format!(
            "{store} mirrors Docker Hub only, and asks Docker Hub itself when Docxy fails. Other registries by name: \
             docker pull {address}/ghcr.io/OWNER/IMAGE"
        ));
    }
    plan.test = match target.registries.first() {
        Some(registry) if !target.has_docker_hub() && is_classic => {
            format!("docker pull {address}/{registry}/OWNER/IMAGE")
        }
        _ => format!("docker pull {}", target.test_image().trim_start_matches("docker.io/library/")),
    };
    Ok(plan)
}

/// What `daemon.json` says for Docker Hub, and for images that are named by the client, which has no TLS.
pub(super) fn mirror(address: &str) -> Vec<Change> {
    let mut changes = vec![Change::First(keys(["registry-mirrors"]), format!("http://{address}"))];
    if !is_local(address) {
        changes.push(Change::First(keys(["insecure-registries"]), address.to_owned()));
    }
    changes
}
