//! The output of a bench: a table on stdout, and all measurements in a JSON file.
//! Must never lose a measurement because printing fails: the file is written first.

use std::{
    fs,
    io::{Write as _, stderr, stdout},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::machine::Machine;

/// Writes `rows` and the description of the machine as JSON.
pub(crate) fn write_json(path: &Path, bench: &str, machine: &Machine, rows: &impl Serialize) -> Result<()> {
    let document = json!({ "bench": bench, "machine": machine, "rows": rows });
    fs::write(path, serde_json::to_vec(&document)?).with_context(|| path.display().to_string())
}

/// Prints a result.
pub(crate) fn print(text: &impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// Prints the progress on stderr.
pub(crate) fn progress(text: &str) {
    // A closed stderr must not end the bench.
    let _ = writeln!(stderr(), "{text}");
}
