//! k3s and RKE2, which write containerd's files from their own.

use super::{PlanError, keys};
use crate::command::setup::change::Change;
use crate::command::setup::format::Format;
use crate::command::setup::machine::{Machine, Version};
use crate::command::setup::{FileChanges, Plan, Reload, Target};
use std::path::Path;

pub(super) fn k3s(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    Ok(plan("k3s", "k3s", target, machine))
}

pub(super) fn rke2(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    Ok(plan("rke2", "rke2-server", target, machine))
}

fn plan(name: &str, unit: &'static str, target: &Target, machine: &Machine) -> Plan {
    let directory = Path::new("/etc/rancher").join(name);
    let endpoint = format!("http://{}", target.address("127.0.0.1"));
    let mirror = |registry: &docxy_protocol::name::Registry| {
        Change::First(keys(["mirrors", registry.as_str(), "endpoint"]), endpoint.clone())
    };
    let mut plan = Plan {
        files: vec![FileChanges::new(
            directory.join("registries.yaml"),
            Format::Yaml,
            target.registries.iter().map(mirror).collect(),
        )],
        test: format!("{name} crictl pull {}", target.test_image()),
        ..Plan::default()
    };
    // Older ones do not start with a setting that they do not know.
    if machine.version(name).is_some_and(|version| version < Version(1, 29, 1)) {
        plan.notes.push(format!("{name} before 1.29.1 asks the registry itself when Docxy fails."));
    } else if !target.keep_fallback {
        plan.files.push(FileChanges::new(
            directory.join("config.yaml.d/99-docxy.yaml"),
            Format::Yaml,
            vec![Change::Set(keys(["disable-default-registry-endpoint"]), true.into())],
        ));
        // There is one setting for all of them.
        plan.notes.push(
            "Each registry in registries.yaml is asked only by its endpoints there, those that you wrote included; \
             --keep-fallback leaves that as it is."
                .into(),
        );
    }
    plan.notes.push(format!(
        "Each node needs this, and a client of its own or --via; agents: systemctl restart {name}-agent"
    ));
    let effect = "pods go on running; there is no reload";
    plan.reload = Some(Reload::by_manager(machine, "restart", unit, effect, false));
    plan
}
