//! Engines in a virtual machine or a container, where 127.0.0.1 is not this machine.
//!
//! Where no file of this machine is read, the notes say what to do instead.

use super::containerd::hosts_files;
use super::{PlanError, containers, docker};
use crate::command::setup::format::Format;
use crate::command::setup::machine::Machine;
use crate::command::setup::{FileChanges, Plan, Target};
use std::path::PathBuf;

pub(super) fn docker_desktop(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let path = machine.home.join(".docker/daemon.json");
    Ok(docker_in_vm(target, path, "host.docker.internal", "Then restart Docker Desktop, from its menu."))
}

pub(super) fn orbstack(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let path = machine.home.join(".orbstack/config/docker.json");
    Ok(docker_in_vm(target, path, "host.docker.internal", "Then: orb restart docker"))
}

pub(super) fn colima(target: &Target, _: &Machine) -> Result<Plan, PlanError> {
    let address = target.address("host.lima.internal");
    Ok(Plan {
        notes: vec![format!(
            "setup cannot edit colima's YAML. Run colima start --edit, and write below `docker:`\n  \
             registry-mirrors:\n    - http://{address}"
        )],
        test: "docker pull hello-world".into(),
        ..Plan::default()
    })
}

/// minikube copies what is below `~/.minikube/files` into each node when it starts.
pub(super) fn minikube(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let via = target.address("host.minikube.internal");
    let target = Target { via: Some(via.clone()), ..target.clone() };
    let files = machine.home.join(".minikube/files/etc");
    let in_node = Machine { is_root: true, ..machine.clone() };
    let mut plan = containers::podman(&target, &in_node)?;
    for file in &mut plan.files {
        file.path = files.join(file.path.strip_prefix("/etc").unwrap_or(&file.path));
    }
    plan.files.extend(hosts_files(&files.join("containerd/certs.d"), &target, false));
    plan.notes = vec![format!(
        "Then: minikube start, for containerd and CRI-O. For docker: minikube start --registry-mirror=http://{via} \
         --insecure-registry={via}. The client must listen where the node reaches it."
    )];
    plan.test = format!("minikube ssh -- sudo crictl pull {}", target.test_image());
    Ok(plan)
}

pub(super) fn kind(target: &Target, _: &Machine) -> Result<Plan, PlanError> {
    let address = target.address("host.docker.internal");
    Ok(Plan {
        notes: vec![format!(
            "A node of kind is a container: no file of this machine is read. Make hosts.toml files with \
             sudo docxy-client setup nerdctl --via {address}, and create the cluster with\n  \
             kind: Cluster\n  apiVersion: kind.x-k8s.io/v1alpha4\n  nodes:\n    - role: control-plane\n      extraMounts:\n        \
             - hostPath: /etc/containerd/certs.d\n          containerPath: /etc/containerd/certs.d\n\
             On Linux the host is the gateway of docker's network `kind`: docxy-client run --listen GATEWAY:PORT \
             --allow-remote"
        )],
        test: format!("docker exec kind-control-plane crictl pull {}", target.test_image()),
        ..Plan::default()
    })
}

fn docker_in_vm(target: &Target, path: PathBuf, host: &str, then: &str) -> Plan {
    let address = target.address(host);
    Plan {
        files: vec![FileChanges::new(path, Format::Json, docker::mirror(&address))],
        notes: vec![
            then.to_owned(),
            format!(
                "This is for Docker Hub, which docker asks itself when Docxy fails. Other registries by name: \
                 docker pull {address}/ghcr.io/OWNER/IMAGE"
            ),
        ],
        test: "docker pull hello-world".into(),
        ..Plan::default()
    }
}
