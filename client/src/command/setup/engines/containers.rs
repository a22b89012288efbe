//! podman, buildah, skopeo and CRI-O, which share a library and its files.
//!
//! The library pulls from a registry's mirrors, then from its `location`, and pushes to the registry in the image's name,
//! whatever `location` is. `insecure` of a registry would hold for pushes too, so only the mirror has it: a `location` of
//! our own without it fails here, so that the registry is not asked.

use super::{PlanError, keys};
use crate::command::setup::change::Change;
use crate::command::setup::format::Format;
use crate::command::setup::machine::Machine;
use crate::command::setup::{FileChanges, Plan, Reload, Target};
use serde_json::{Map, Value, json};

/// podman, buildah and skopeo.
pub(super) fn podman(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let mut plan = plan(target, machine);
    plan.test = format!("podman pull {}", target.test_image());
    if !machine.is_root {
        plan.notes
            .push("This is for your user; for the whole machine: sudo docxy-client setup podman".into());
    }
    plan.notes.push("podman, buildah and skopeo read this at each pull. podman machine: run setup in the machine, with --via host.containers.internal.".into());
    Ok(plan)
}

/// CRI-O.
pub(super) fn cri_o(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let mut plan = plan(target, machine);
    plan.test = format!("crictl pull {}", target.test_image());
    plan.reload = Some(Reload::by_manager(machine, "reload", "crio", "containers go on running", false));
    Ok(plan)
}

fn plan(target: &Target, machine: &Machine) -> Plan {
    let address = target.address("127.0.0.1");
    let change = |registry: &docxy_protocol::name::Registry| {
        let mirror = format!("{address}/{registry}");
        let location = if target.keep_fallback { registry.as_str() } else { &mirror };
        let table: Map<String, Value> = [
            ("prefix".to_owned(), registry.as_str().into()),
            ("location".to_owned(), location.into()),
            ("mirror".to_owned(), json!([{ "location": mirror, "insecure": true }])),
        ]
        .into_iter()
        .collect();
        Change::Table(keys(["registry"]), "prefix", table)
    };
    // For `podman login 127.0.0.1:5080`, and for images that are named by the client.
    let client: Map<String, Value> =
        [("location".to_owned(), address.as_str().into()), ("insecure".to_owned(), true.into())]
            .into_iter()
            .collect();
    let mut changes = vec![Change::Table(keys(["registry"]), "location", client)];
    // A registry is a part of a repository's name here, which has no colon.
    let (with_port, others): (Vec<_>, Vec<_>) =
        target.registries.iter().partition(|registry| registry.as_str().contains(':'));
    changes.extend(others.into_iter().map(change));
    let notes =
        with_port.iter().map(|name| format!("{name} is not set up: its port cannot be told here.")).collect();
    let path = machine.config_directory("containers").join("registries.conf.d/99-docxy.conf");
    Plan { files: vec![FileChanges::new(path, Format::Toml, changes)], notes, ..Plan::default() }
}
