//! One file that `setup` writes or takes away, with the copy of what was there before.
//!
//! Must never leave a file half written, or with another mode or owner, or a copy of a file that did not change.

use super::{JournalError, Record};
use docxy_host::files::private_file::{self, Prepared};
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

    /// Writes what the step needs to temporary files.
    pub(super) fn prepare(&self) -> Result<PreparedStep<'_>, JournalError> {
        let path = &self.path;
        let failed = |source| JournalError::Change { path: path.clone(), source };
        let mut prepared = PreparedStep { step: self, copy: None, file: None };
        if let (Some(directory), Some(_)) = (path.parent(), &self.new) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        if let (Some(copy), Some(record)) = (self.backup(), &self.record) {
            // With the mode of the file itself, which may hold passwords.
            let before = record.before.as_deref().unwrap_or_default();
            prepared.copy = Some(Prepared::like(path, &copy, before.as_bytes())?);
        }
        if let (true, Some(text)) = (self.is_change(), &self.new) {
            prepared.file = Some(Prepared::like(path, path, text.as_bytes())?);
        }
        Ok(prepared)
    }

    /// Makes the file what it was before the step, as far as that is possible.
    pub(super) fn take_back(&self) -> Result<(), JournalError> {
        if self.is_change() {
            match &self.now {
                Some(text) => private_file::replace(&self.path, text.as_bytes())?,
                None => remove(&self.path)?,
            }
        }
        match (self.backup(), &self.old_record) {
            (Some(copy), None) => remove(&copy),
            _ => Ok(()),
        }
    }
}

/// A step that needs no more disk space. What it made goes if it is dropped.
#[derive(Debug)]
pub(super) struct PreparedStep<'a> {
    step: &'a Step,
    copy: Option<Prepared>,
    file: Option<Prepared>,
}

impl PreparedStep<'_> {
    /// Writes or removes the file, and its copy.
    pub(super) fn carry_out(self) -> Result<(), JournalError> {
        let Step { path, record, old_record, keeps_changes, .. } = self.step;
        let copy = backup(path);
        let is_new_copy = !copy.exists();
        if let Some(prepared) = self.copy {
            prepared.commit()?;
        }
        let written = match (self.file, &self.step.new) {
            (Some(file), _) => file.commit().map_err(JournalError::from),
            (None, None) if self.step.is_change() => remove(path),
            (None, _) => Ok(()),
        };
        if written.is_err() {
            if is_new_copy {
                let _ = fs::remove_file(&copy);
            }
            return written;
        }
        if let (None, Some(old)) = (record, old_record) {
            if !keeps_changes {
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
