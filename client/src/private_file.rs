//! Writes files that only their owner may read, and that are never incomplete.
//!
//! Knows nothing of their content.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use tempfile::NamedTempFile;

/// Replaces the content in one step: a reader, and a crash, sees the old or the new. Creates missing
/// directories for the owner only.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = directory(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // `tempfile` creates it with mode 0600, whatever the umask.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // Without this sync a crash of the machine may undo the rename.
    File::open(directory)?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_the_owner_may_read_file_and_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/links");
        for content in ["old", "new"] {
            write(&path, content.as_bytes()).unwrap();
        }
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "no leftovers");
    }
}
