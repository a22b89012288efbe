//! What `setup` wrote, so that `--undo` can take it away: `setup.json` beside the client's config file.
//!
//! All texts are computed before a file is written, and the journal is written before the files: a run that is cut short is
//! finished or undone by the next one. Must never be readable by others: config files may hold passwords.

mod state;
mod step;
#[cfg(test)]
mod tests;

pub use state::State;
pub use step::Step;

use super::FileChanges;
use super::format::{BYTE_ORDER_MARK, Format, FormatError};
use docxy_host::files::directories::CLIENT_CONFIG;
use docxy_host::files::private_file::{self, FileError, Prepared};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why files cannot be set up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum JournalError {
    /// A file of an engine cannot be changed.
    #[error("{}{}: {source}", path.display(), line(source))]
    Format { path: PathBuf, source: FormatError },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not text.
    #[error("{} is not UTF-8: save it as that, and run setup again", .0.display())]
    NotText(PathBuf),
    /// A file or a directory cannot be removed or made.
    #[error("cannot change {}: {source}", path.display())]
    Change { path: PathBuf, source: io::Error },
    /// The journal itself.
    #[error("{} is not what setup wrote: {source}; the files before setup end in .before-docxy", path.display())]
    Journal { path: PathBuf, source: serde_json::Error },
    /// A step failed, and the ones before it were taken back.
    #[error("{0}; nothing was changed")]
    Unchanged(Box<Self>),
    /// There is no home directory.
    #[error("no directory for the record of what is changed: set HOME")]
    NoDirectory,
}

fn line(error: &FormatError) -> String {
    match error {
        FormatError::Invalid { line, .. } => format!(":{line}"),
        _ => String::new(),
    }
}

/// A file that `setup` changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    engine: String,
    path: PathBuf,
    format: Format,
    /// `None` if there was no file.
    before: Option<String>,
    after: String,
    /// The directories that were made for it, the innermost first.
    directories: Vec<PathBuf>,
}

/// All records.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    records: Vec<Record>,
}

impl JournalError {
    /// The file of an engine that is not as expected.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Format { path, .. } | Self::NotText(path) => Some(path),
            _ => None,
        }
    }

    /// Whether another user may do it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        if let Self::Unchanged(error) = self {
            return error.is_refused();
        }
        let (Self::File(
            FileError::Read { source, .. } | FileError::Write { source, .. } | FileError::Lock { source, .. },
        )
        | Self::Change { source, .. }) = self
        else {
            return false;
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }
}

impl Journal {
    /// Reads it.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub fn read() -> Result<Self, JournalError> {
        let path = CLIENT_CONFIG.path().ok_or(JournalError::NoDirectory)?.join("setup.json");
        let records = match private_file::read(&path)? {
            Some(text) => serde_json::from_slice(&text)
                .map_err(|source| JournalError::Journal { path: path.clone(), source })?,
            None => Vec::new(),
        };
        Ok(Self { path, records })
    }

    /// What an engine's files become: those of an earlier run are undone first, then `files` are changed. Writes nothing.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub fn steps(&self, engine: &str, files: &[FileChanges]) -> Result<Vec<Step>, JournalError> {
        let undone = self.records.iter().filter(|record| record.engine == engine);
        let undone = undone.filter(|record| files.iter().all(|file| file.path != record.path));
        let changed = files.iter().map(|file| self.step(engine, &file.path, Some(file)));
        changed.chain(undone.map(|record| self.step(engine, &record.path, None))).collect()
    }

    /// A file as it would be without what was set up for an engine.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub fn without(&self, engine: &str, path: &Path) -> Result<Option<String>, JournalError> {
        Ok(self.step(engine, path, None)?.new)
    }

    fn step(&self, engine: &str, path: &Path, file: Option<&FileChanges>) -> Result<Step, JournalError> {
        let failed = |source| JournalError::Format { path: path.to_owned(), source };
        let now = read_text(path)?;
        let record = self.records.iter().find(|record| record.engine == engine && record.path == path);
        let before = match (record, &now) {
            (Some(record), Some(now)) => {
                record.format.undo(now, record.before.as_deref(), &record.after).map_err(failed)?
            }
            (_, now) => now.clone(),
        };
        let mut step = Step {
            path: path.to_owned(),
            keeps_changes: record.is_some_and(|record| now.as_ref() != Some(&record.after)),
            old_record: record.cloned(),
            record: None,
            new: before.clone(),
            now,
        };
        let Some(file) = file else { return Ok(step) };
        if file.refuses_mark && step.now.as_ref().is_some_and(|now| now.starts_with(BYTE_ORDER_MARK)) {
            return Err(failed(FormatError::ByteOrderMark));
        }
        let after = file.format.apply(before.as_deref().unwrap_or(""), &file.changes).map_err(failed)?;
        if before.as_ref().is_some_and(|before| file.format.says_the_same(before, &after)) {
            // The user has set up the same by hand. That is not ours.
            return Ok(step);
        }
        // What says the same already stays as it is.
        let after = match &step.now {
            Some(now) if file.format.says_the_same(now, &after) => now.clone(),
            _ => after,
        };
        let directories = match record {
            Some(record) => record.directories.clone(),
            None => missing_directories(path),
        };
        step.new = Some(after.clone());
        step.record = Some(Record {
            engine: engine.to_owned(),
            path: path.to_owned(),
            format: file.format,
            before,
            after,
            directories,
        });
        Ok(step)
    }

    /// Does it all, or nothing: what needs space on the disk is written before the first file changes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn carry_out(self, steps: &[Step]) -> Result<(), JournalError> {
        let mut missing: Vec<_> = steps.iter().flat_map(|step| missing_directories(&step.path)).collect();
        let outcome = self.carry_out_all(steps);
        if outcome.is_err() {
            // The innermost first. Those that something is in stay.
            missing.sort_by_key(|directory| std::cmp::Reverse(directory.as_os_str().len()));
            missing.iter().for_each(|directory| drop(fs::remove_dir(directory)));
        }
        outcome
    }

    fn carry_out_all(mut self, steps: &[Step]) -> Result<(), JournalError> {
        let is_meant = |record: &Record| {
            let mut old = steps.iter().filter_map(|step| step.old_record.as_ref());
            old.any(|old| (&old.engine, &old.path) == (&record.engine, &record.path))
        };
        let old = self.records.clone();
        self.records.retain(|record| !is_meant(record));
        let kept = self.records.clone();
        // Until the files are written, an old record is the only way back.
        self.records
            .extend(steps.iter().filter_map(|step| step.record.clone().or_else(|| step.old_record.clone())));
        let mut after = kept;
        after.extend(steps.iter().filter_map(|step| step.record.clone()));
        let unchanged = |error| JournalError::Unchanged(Box::new(error));
        let prepared: Vec<_> =
            steps.iter().map(Step::prepare).collect::<Result<_, _>>().map_err(unchanged)?;
        let [during, before, after] = [&self.records, &old, &after].map(|records| self.prepare(records));
        let (during, before, after) =
            (during.map_err(unchanged)?, before.map_err(unchanged)?, after.map_err(unchanged)?);
        self.commit(during).map_err(unchanged)?;
        for (index, step) in prepared.into_iter().enumerate() {
            if let Err(error) = step.carry_out() {
                // If that fails too, the journal leads back.
                steps[..index].iter().rev().try_for_each(Step::take_back)?;
                self.commit(before)?;
                return Err(unchanged(error));
            }
        }
        self.commit(after)
    }

    /// The journal's file with these records; `None` if there is none.
    fn prepare(&self, records: &[Record]) -> Result<Option<Prepared>, JournalError> {
        if records.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_vec_pretty(records)
            .map_err(|source| JournalError::Journal { path: self.path.clone(), source })?;
        // Not private: the system's service reads its config file there, as another user.
        let directory = self.path.parent().unwrap_or(&self.path);
        let failed = |source| JournalError::Change { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        Ok(Some(Prepared::private(&self.path, &text)?))
    }

    fn commit(&self, prepared: Option<Prepared>) -> Result<(), JournalError> {
        match prepared {
            Some(file) => Ok(file.commit()?),
            None => step::remove(&self.path),
        }
    }
}

fn read_text(path: &Path) -> Result<Option<String>, JournalError> {
    let bytes = private_file::read(path)?;
    bytes
        .map(|bytes| String::from_utf8(bytes).map_err(|_| JournalError::NotText(path.to_owned())))
        .transpose()
}

/// The directories that must be made for a file, the innermost first.
fn missing_directories(path: &Path) -> Vec<PathBuf> {
    path.ancestors().skip(1).take_while(|path| !path.exists()).map(Path::to_owned).collect()
}
