//! buildkitd, and the one in a container of buildx's `docker-container` driver.
//!
//! A mirror is a host here, not a URL, and `http` belongs to the mirror's own table. BuildKit pulls from mirrors, then from
//! the registry, and pushes to the registry.

use super::{PlanError, keys};
use crate::command::setup::change::Change;
use crate::command::setup::format::Format;
use crate::command::setup::machine::Machine;
use crate::command::setup::{FileChanges, Plan, Reload, Target};
use std::path::PathBuf;

const FALLBACK: &str = "BuildKit asks the registry itself when Docxy fails; that cannot be turned off.";

pub(super) fn buildkitd(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let mut plan = plan(target, machine.config_directory("buildkit").join("buildkitd.toml"));
    let effect = "running builds end; there is no reload";
    plan.reload = Some(Reload::by_manager(machine, "restart", "buildkit", effect, !machine.is_root));
    plan.test =
        test(target, "buildctl build --frontend dockerfile.v0 --local context=. --local dockerfile=.");
    Ok(plan)
}

pub(super) fn buildx(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let mut plan = plan(target, machine.home.join(".docker/buildx/buildkitd.default.toml"));
    plan.notes.push(
        "A builder reads this when it is created, and has this machine's network only with: docker buildx create --use \
         --driver docker-container --driver-opt network=host"
            .into(),
    );
    plan.test = test(target, "docker buildx build .");
    Ok(plan)
}

fn plan(target: &Target, path: PathBuf) -> Plan {
    let address = target.address("127.0.0.1");
    let mirror = |registry: &docxy_protocol::name::Registry| {
        Change::First(keys(["registry", registry.as_str(), "mirrors"]), address.clone())
    };
    let mut changes: Vec<_> = target.registries.iter().map(mirror).collect();
    changes.push(Change::Set(keys(["registry", &address, "http"]), true.into()));
    Plan {
        files: vec![FileChanges::new(path, Format::Toml, changes)],
        notes: vec![FALLBACK.into()],
        ..Plan::default()
    }
}

fn test(target: &Target, build: &str) -> String {
    format!("echo FROM {} > Dockerfile && {build}", target.test_image())
}
