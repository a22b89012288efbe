//! Files for their owner's eyes only, and never half written.
//!
//! Knows nothing of what is in them.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use tempfile::NamedTempFile;

/// Puts the content into place in one step: a reader, or a crash, sees the old or the new.
/// Directories that are missing are made, for the owner alone too.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = directory(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // The crate opens it with mode 0600, whatever the umask.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // Without it a crash of the machine may forget the renaming.
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
    fn file_and_directory_are_the_owners_alone() {
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
