//! One file that `setup` writes or takes away, with the copy of what was there before.
//!
//! Must never leave a file half written, or with another mode or owner.

use super::{JournalError, Record};
use docxy_host::files::private_file;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What happens to a file.
#[derive(Debug)]
pub struct Step {
    /// Where it is.
    pub path: PathBuf,
    pub(super) now: Option<String>,
    /// What it becomes; `None` removes it.
    pub new: Option<String>,
    /// Whether an undo finds changes that `setup` did not make, and keeps them.
    pub keeps_changes: bool,
    pub(super) old_record: Option<Record>,
    pub(super) record: Option<Record>,
}

impl Step {
    /// Whether the file changes.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.now != self.new
    }

    /// Whether it has entries of ours then.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.record.is_some()
    }

    /// The copy of the file as it was.
    #[must_use]
    pub fn backup(&self) -> Option<PathBuf> {
        self.record.as_ref()?.before.as_ref().map(|_| backup(&self.path))
    }

    /// Writes or removes the file, and its copy.
    pub(super) fn carry_out(&self) -> Result<(), JournalError> {
        let path = &self.path;
        let failed = |source| JournalError::Change { path: path.clone(), source };
        if let (Some(directory), Some(_)) = (path.parent(), &self.new) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let copy = backup(path);
        if let (Some(_), Some(record)) = (self.backup(), &self.record) {
            // With the mode of the file itself, which may hold passwords.
            if !copy.exists() {
                fs::copy(path, &copy).map_err(failed)?;
            }
            private_file::replace(&copy, record.before.as_deref().unwrap_or_default().as_bytes())?;
        }
        if self.is_change() {
            match &self.new {
                Some(text) => private_file::replace(path, text.as_bytes())?,
                None => remove(path)?,
            }
        }
        if let (None, Some(old)) = (&self.record, &self.old_record) {
            if !self.keeps_changes {
                remove(&copy)?;
            }
            for directory in &old.directories {
                // It stays if something else is in it.
                let _ = fs::remove_dir(directory);
            }
        }
        Ok(())
    }
}

/// Removes a file, if it is there. A link to it stays.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match private_file::target(path).and_then(fs::remove_file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::Change { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-docxy");
    name.into()
}
