//! Errors of the settings, with the file that they are in.

use crate::toml_text::TomlError;
use std::path::PathBuf;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum SettingsError {
    /// The config file cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The config file is wrong.
    #[error("{}, {source}", path.display())]
    Config { path: PathBuf, source: TomlError },
    /// A registry's account or CA file cannot be used.
    #[error("{}, registry {registry}: {detail}", path.display())]
    Registry { path: PathBuf, registry: String, detail: String },
    /// The user is not root, and has no home directory.
    #[error("there is no default state directory, because HOME is not set: pass --state DIR")]
    NoStateDirectory,
}
