//! The stand-in depends on no package of this workspace: a parser that it shared with the product would have the same
//! bug on both sides of a test.

use std::process::Command;

use serde_json::Value;

#[test]
fn no_dependency_is_a_package_of_this_workspace() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path", manifest]);
    let metadata: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
    let is_stand_in = |package: &&Value| package["manifest_path"] == manifest;
    let package = metadata["packages"].as_array().unwrap().iter().find(is_stand_in).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap();
    assert!(!dependencies.is_empty());
    // A package from a registry cannot depend on one by its path, so the direct dependencies are enough.
    for dependency in dependencies {
        assert!(dependency.get("path").is_none(), "{} is a package of this workspace", dependency["name"]);
    }
}
