//! Relative paths in the config file.

use std::path::Path;

/// The directory that relative paths are resolved against: the config file's own, since the working
/// directory of the program may be any.
pub(super) fn base_directory(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}
