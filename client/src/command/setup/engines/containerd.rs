//! containerd, nerdctl, and the `hosts.toml` files that Docker reads too.
//!
//! Must never write a field that the engine's version does not know: it would ignore the file, and ask the registry. Nor
//! rely on a `config_path` of several directories, as the default since 2.2 is: containerd reads none of them, since the
//! transfer service takes it for one (its issue 12415; seen with 2.4).

use super::{PlanError, is_local, keys};
use crate::command::setup::change::Change;
use crate::command::setup::format::Format;
use crate::command::setup::machine::{Machine, Version};
use crate::command::setup::{FileChanges, Plan, Reload, Target};
use serde_json::{Value, json};
use std::path::Path;

/// containerd: hosts files, and `config_path` where it is not set.
pub(super) fn containerd(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let version = machine.version("containerd");
    let is_at_least = |wanted| version.is_some_and(|version| version >= wanted);
    let directory = machine.config_directory("containerd");
    let path = machine.containerd_config_path();
    let text = machine.containerd_config.as_deref().unwrap_or_default();
    // A text that cannot be parsed is reported when the file is edited.
    let config = Format::Toml.value(text).unwrap_or_default();
    let is_new = text.trim().is_empty();
    let default_version = if is_at_least(Version(2, 0, 0)) { 3 } else { 2 };
    let config_version = config["version"].as_i64().unwrap_or(if is_new { default_version } else { 1 });
    let plugin = match config_version {
        1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.images",
    };
    let images = &config["plugins"][plugin];
    let registry = &images["registry"];
    let certs = directory.join("certs.d").display().to_string();
    let set = registry["config_path"].as_str().filter(|path| !path.is_empty());
    let disabled = config["disabled_plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_kubernetes = !disabled.iter().any(|name| name == plugin || name == "cri");
    // Without the transfer service, a list is read.
    let is_local = ["use_local_image_pull", "discard_unpacked_layers"].iter().any(|key| images[key] == true);
    let ignored = set.filter(|paths| paths.contains(':') && is_at_least(Version(2, 1, 0)) && !is_local);

    let mut plan = Plan::default();
    let certs = set.and_then(|paths| paths.split(':').next()).unwrap_or(&certs);
    if let Some(mirrors) = registry["mirrors"].as_object().filter(|mirrors| !mirrors.is_empty()) {
        let names: Vec<_> = mirrors.keys().map(String::as_str).collect();
        let (registries, certs) = (names.join(", "), certs.to_owned());
        return Err(PlanError::OtherMirrors { path: path.clone(), registries, certs });
    }
    if has_kubernetes && (set.is_none() || ignored.is_some()) {
        let mut changes = Vec::new();
        if is_new {
            changes.push(Change::Set(keys(["version"]), config_version.into()));
        }
        let key = keys(["plugins", plugin, "registry", "config_path"]);
        changes.push(Change::Set(key, certs.into()));
        plan.files.push(FileChanges::new(path.clone(), Format::Toml, changes));
        let effect = "containers go on running; containerd has no reload";
        plan.reload = Some(Reload {
            file: Some(path),
            ..Reload::by_manager(machine, "restart", "containerd", effect, !machine.is_root)
        });
    }
    plan.files.extend(hosts_files(Path::new(certs), target, is_at_least(Version(2, 2, 0))));
    if let Some(paths) = ignored.filter(|_| has_kubernetes) {
        plan.notes.push(format!(
            "containerd 2.1 and newer read no hosts.toml if config_path is several directories: it is {certs} alone now, \
             instead of {paths}"
        ));
    }
    plan.notes.push(format!(
        "ctr asks Docxy only with --hosts-dir {certs}; Kubernetes and nerdctl do by themselves."
    ));
    plan.test = format!("ctr images pull --hosts-dir {certs} {}:latest", target.test_image());
    Ok(plan)
}

/// nerdctl, which reads the directory of containerd by default.
pub(super) fn nerdctl(target: &Target, machine: &Machine) -> Result<Plan, PlanError> {
    let certs = machine.config_directory("containerd").join("certs.d");
    let knows_referrers = machine.version("containerd").is_some_and(|version| version >= Version(2, 2, 0));
    Ok(Plan {
        files: hosts_files(&certs, target, knows_referrers),
        test: format!("nerdctl pull {}", target.test_image()),
        ..Plan::default()
    })
}

/// A `hosts.toml` for each registry. Pulls ask Docxy, and pushes go to the registry: containerd sends them to each host
/// without `capabilities`.
///
/// `knows_referrers`: containerd before 2.2 refuses a file with that capability.
pub(super) fn hosts_files(certs: &Path, target: &Target, knows_referrers: bool) -> Vec<FileChanges> {
    let url = format!("http://{}", target.address("127.0.0.1"));
    let mut pull = vec!["pull", "resolve"];
    pull.extend(knows_referrers.then_some("referrers"));
    let origin = if target.keep_fallback { [pull.as_slice(), &["push"]].concat() } else { vec!["push"] };
    let file = |registry: &docxy_protocol::name::Registry| {
        let host = if registry.is_docker_hub() { "registry-1.docker.io" } else { registry.as_str() };
        let scheme = if is_local(host) { "http" } else { "https" };
        let set = |key: &str, value: Value| Change::Set(keys([key]), value);
        let changes = vec![
            // The user's own may have another scheme or port.
            Change::Default(keys(["server"]), format!("{scheme}://{host}").into()),
            set("capabilities", json!(origin)),
            Change::Set(keys(["host", &url]), json!({ "capabilities": pull })),
        ];
        FileChanges::new(certs.join(registry.as_str()).join("hosts.toml"), Format::Toml, changes)
    };
    target.registries.iter().map(file).collect()
}
