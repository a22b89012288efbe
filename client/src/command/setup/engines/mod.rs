//! The engines: a row each.
//!
//! Must never touch the machine: a plan is made from what is known of it.

mod buildkit;
mod containerd;
mod containers;
mod desktop;
mod docker;
mod kubernetes;

use super::machine::Machine;
use super::{Plan, Target};
use std::fmt;
use std::path::PathBuf;

/// Why there is no plan: the engine's config forbids it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum PlanError {
    #[error("this is Docker Desktop: docxy-client setup docker-desktop")]
    DockerDesktop,
    #[error("this dockerd is rootless: run setup as its user, without sudo")]
    Rootless,
    #[error(
        "{} has mirrors for {registries} in its own tables, and containerd refuses them beside config_path: move them to \
         {certs}/REGISTRY/hosts.toml first", path.display()
    )]
    OtherMirrors { path: PathBuf, registries: String, certs: String },
}

/// An engine that `setup` knows.
pub struct Engine {
    /// As it is called on the command line.
    pub name: &'static str,
    /// Its programs. It is installed if one of them is.
    pub programs: &'static [&'static str],
    /// How far it was tried.
    pub evidence: &'static str,
    plan: fn(&Target, &Machine) -> Result<Plan, PlanError>,
}

/// All engines.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "docker",
        programs: &["docker", "dockerd"],
        evidence: "tested with 20.10.24 (classic store), 28.5.2 (containerd store) and a build of 29 (both)",
        plan: docker::docker,
    },
    Engine {
        name: "containerd",
        programs: &["containerd"],
        evidence: "tested with 1.6.20, 1.7.24, 2.1.9 and a build of 2.4",
        plan: containerd::containerd,
    },
    Engine {
        name: "nerdctl",
        programs: &["nerdctl"],
        evidence: "written from its documentation",
        plan: containerd::nerdctl,
    },
    Engine {
        name: "podman",
        programs: &["podman", "buildah", "skopeo"],
        evidence: "tested with podman 4.3.1, 5.8.6 and a build of 6.0, skopeo 1.9.3 and 1.22.0, buildah 1.28.2 and 1.43.2",
        plan: containers::podman,
    },
    Engine {
        name: "cri-o",
        programs: &["crio"],
        evidence: "written from its documentation",
        plan: containers::cri_o,
    },
    Engine {
        name: "k3s",
        programs: &["k3s"],
        evidence: "written from its documentation",
        plan: kubernetes::k3s,
    },
    Engine {
        name: "rke2",
        programs: &["rke2"],
        evidence: "written from its documentation",
        plan: kubernetes::rke2,
    },
    Engine {
        name: "buildkitd",
        programs: &["buildkitd"],
        evidence: "tested with a build of its main branch, August 2026",
        plan: buildkit::buildkitd,
    },
    Engine {
        name: "buildx",
        programs: &["docker-buildx"],
        evidence: "written from its documentation",
        plan: buildkit::buildx,
    },
    Engine {
        name: "minikube",
        programs: &["minikube"],
        evidence: "written from its documentation",
        plan: desktop::minikube,
    },
    Engine {
        name: "kind",
        programs: &["kind"],
        evidence: "written from its documentation",
        plan: desktop::kind,
    },
    Engine {
        name: "colima",
        programs: &["colima"],
        evidence: "written from its documentation",
        plan: desktop::colima,
    },
    Engine {
        name: "orbstack",
        programs: &["orb"],
        evidence: "written from its documentation",
        plan: desktop::orbstack,
    },
    Engine {
        name: "docker-desktop",
        programs: &["docker-desktop"],
        evidence: "written from its documentation",
        plan: desktop::docker_desktop,
    },
];

impl Engine {
    /// The engine with this name, or another one of its names.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ENGINES.iter().find(|engine| engine.name == name || engine.aliases().any(|alias| alias == name))
    }

    /// What else it is called: as its programs, and buildkitd without its last letter.
    pub fn aliases(&self) -> impl Iterator<Item = &'static str> {
        let daemon = self.name.strip_suffix('d').filter(|_| self.name == "buildkitd");
        self.programs.iter().copied().chain(daemon)
    }

    /// What is to be done for it.
    ///
    /// # Errors
    /// If its config has something that excludes a mirror.
    pub fn plan(&self, target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
        let mut plan = (self.plan)(target, machine)?;
        if machine.is_root && plan.files.iter().any(|file| file.path.starts_with(&machine.home)) {
            plan.notes.push("This is for the user root; for your own user, run setup without sudo.".into());
        }
        if !machine.is_root && ["containerd", "nerdctl", "buildkitd"].contains(&self.name) {
            let name = self.name;
            plan.notes.push(format!(
                "This is for a {name} of your user; for the one of the machine: sudo docxy-client setup {name}"
            ));
        }
        Ok(plan)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A path of keys.
fn keys<const N: usize>(keys: [&str; N]) -> Vec<String> {
    keys.map(str::to_owned).to_vec()
}

/// Whether engines take a registry there for one on their own machine, which needs no TLS.
fn is_local(address: &str) -> bool {
    ["127.", "localhost"].iter().any(|local| address.starts_with(local))
}

#[cfg(test)]
mod tests;
