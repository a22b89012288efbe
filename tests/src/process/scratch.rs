//! Temporary folders for what tests write: configs, states, logs, the storage of engines.
//! Must never survive the test: they are deleted on drop, and the next test deletes those of a killed one.

use std::{env, fs, io, sync::Once};

use tempfile::TempDir;

use super::{is_abandoned, unique_name};

/// A new empty folder.
pub fn scratch() -> io::Result<TempDir> {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep);
    tempfile::Builder::new().prefix(&format!("{}-", unique_name())).tempdir()
}

fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_abandoned) {
            // Another test may delete it at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
