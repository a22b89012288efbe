//! The variant of the product that a test run is about: settings of all its clients and servers, from the run's own
//! environment. `DOCXY_TEST_CLIENT_CONGESTION=cubic` gives each client `DOCXY_CONGESTION=cubic`, and
//! `DOCXY_TEST_SERVER_…` does the same for servers. `scripts/test --all` runs the variants.
//! Must never override what a test sets: a program's flags take precedence over its environment.

use std::{env, ffi::OsString};

/// The settings of `docxy-client` or `docxy-server`, as variables of its environment.
pub(super) fn settings(program: &str) -> impl Iterator<Item = (String, OsString)> {
    let prefix = program.replace("docxy-", "docxy_test_").to_uppercase() + "_";
    env::vars_os().filter_map(move |(name, value)| {
        let setting = name.to_str()?.strip_prefix(&prefix)?.to_owned();
        Some((format!("DOCXY_{setting}"), value))
    })
}
