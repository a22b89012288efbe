//! What `setup` wrote, so that `--undo` can take it away: `setup.json` beside the client's config file.
//!
//! All texts are computed before a file is written, and the journal is written before the files: a run that is cut short is
//! finished or undone by the next one. Must never be readable by others: config files may hold passwords.

mod state;

pub use state::State;

use super::FileChanges;
use super::format::{Format, FormatError};
use docxy_host::directories::CLIENT_CONFIG;
use docxy_host::private_file::{self, FileError};
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
    #[error("{} is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// A file or a directory cannot be removed or made.
    #[error("cannot change {}: {source}", path.display())]
    Change { path: PathBuf, source: io::Error },
    /// The journal itself.
    #[error("{} is not what setup wrote: {source}; the files before setup end in .before-docxy", path.display())]
    Journal { path: PathBuf, source: serde_json::Error },
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

/// What happens to a file.
#[derive(Debug)]
pub struct Step {
    /// Where it is.
    pub path: PathBuf,
    now: Option<String>,
    /// What it becomes; `None` removes it.
    pub new: Option<String>,
    /// Whether an undo finds changes that `setup` did not make, and keeps them.
    pub keeps_changes: bool,
    old_record: Option<Record>,
    record: Option<Record>,
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

    /// Does it.
    ///
    /// # Errors
    /// If a file cannot be written. The ones before it are.
    pub fn carry_out(mut self, steps: &[Step]) -> Result<(), JournalError> {
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
        self.write()?;
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = carry_out(step) {
                if index == 0 {
                    // Mostly a user who may not write there. Nothing has happened.
                    self.records = old;
                    self.write()?;
                }
                return Err(error);
            }
        }
        self.records = kept;
        self.records.extend(steps.iter().filter_map(|step| step.record.clone()));
        self.write()
    }

    fn write(&self) -> Result<(), JournalError> {
        if self.records.is_empty() {
            return remove(&self.path);
        }
        let text = serde_json::to_vec_pretty(&self.records)
            .map_err(|source| JournalError::Journal { path: self.path.clone(), source })?;
        // Not private: the system's service reads its config file there, as another user.
        let directory = self.path.parent().unwrap_or(&self.path);
        let failed = |source| JournalError::Change { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        Ok(private_file::write(&self.path, &text)?)
    }
}

fn carry_out(step: &Step) -> Result<(), JournalError> {
    let path = &step.path;
    let failed = |source| JournalError::Change { path: path.clone(), source };
    if let (Some(directory), Some(_)) = (path.parent(), &step.new) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let copy = backup(path);
    if let (Some(_), Some(record)) = (step.backup(), &step.record) {
        // With the mode and the owner of the file itself, which may hold passwords.
        if !copy.exists() {
            fs::copy(path, &copy).map_err(failed)?;
        }
        private_file::replace(&copy, record.before.as_deref().unwrap_or_default().as_bytes())?;
    }
    if step.is_change() {
        match &step.new {
            Some(text) => private_file::replace(path, text.as_bytes())?,
            None => remove(path)?,
        }
    }
    if let (None, Some(old)) = (&step.record, &step.old_record) {
        if !step.keeps_changes {
            remove(&copy)?;
        }
        for directory in &old.directories {
            // It stays if something else is in it.
            let _ = fs::remove_dir(directory);
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::Change { path: path.to_owned(), source })
        }
        _ => Ok(()),
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

fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-docxy");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_config::change::Change;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    /// A directory with a `daemon.json` of mode 0640, and what `setup` wants in it and in another file.
    struct Lab {
        root: TempDir,
        files: Vec<FileChanges>,
    }

    const BEFORE: &str = "{\n    \"debug\": true\n}\n";

    impl Lab {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let file = |path: &str, format, key: &str| FileChanges {
                path: root.path().join(path),
                format,
                changes: vec![Change::First(vec![key.into()], "here".into())],
            };
            let files = vec![
                file("daemon.json", Format::Json, "mirrors"),
                file("certs.d/x/hosts.toml", Format::Toml, "hosts"),
            ];
            fs::write(root.path().join("daemon.json"), BEFORE).unwrap();
            fs::set_permissions(root.path().join("daemon.json"), fs::Permissions::from_mode(0o640)).unwrap();
            Self { root, files }
        }

        fn journal(&self) -> Journal {
            let path = self.root.path().join("docxy/setup.json");
            let records = fs::read(&path).map_or(Vec::new(), |text| serde_json::from_slice(&text).unwrap());
            Journal { path, records }
        }

        /// Sets up these files. Returns how many changed.
        fn run(&self, files: &[FileChanges]) -> usize {
            let journal = self.journal();
            let steps = journal.steps("docker", files).unwrap();
            journal.carry_out(&steps).unwrap();
            steps.iter().filter(|step| step.is_change()).count()
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.root.path().join(path)).ok()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.root.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn an_undo_leaves_the_machine_as_it_was() {
        let lab = Lab::new();
        assert_eq!(lab.run(&lab.files), 2);
        assert_eq!(lab.run(&lab.files), 0, "a second time");
        assert_eq!(lab.read("daemon.json.before-docxy").as_deref(), Some(BEFORE));
        for (name, mode) in
            [("daemon.json", 0o640), ("daemon.json.before-docxy", 0o640), ("docxy/setup.json", 0o600)]
        {
            let about = lab.root.path().join(name).metadata().unwrap();
            assert_eq!(about.permissions().mode() & 0o777, mode, "{name}");
        }
        assert_eq!(lab.run(&[]), 2);
        assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
        assert_eq!(lab.names(), ["daemon.json", "docxy"]);
        assert!(lab.read("docxy/setup.json").is_none());
        assert_eq!(lab.run(&[]), 0, "a second undo");
    }

    #[test]
    fn what_the_user_adds_after_setup_stays() {
        let lab = Lab::new();
        lab.run(&lab.files);
        let edited = lab.read("daemon.json").unwrap().replace("true", "false");
        fs::write(lab.root.path().join("daemon.json"), &edited).unwrap();
        fs::write(lab.root.path().join("certs.d/mine"), "").unwrap();
        assert_eq!(lab.run(&lab.files), 0);
        assert_eq!(lab.read("daemon.json").unwrap(), edited);
        assert_eq!(lab.run(&[]), 2);
        assert_eq!(lab.read("daemon.json").unwrap(), BEFORE.replace("true", "false"));
        assert!(lab.read("certs.d/mine").is_some());
    }

    #[test]
    fn a_run_with_other_files_undoes_the_ones_before() {
        let lab = Lab::new();
        lab.run(&lab.files);
        assert_eq!(lab.run(&lab.files[1..]), 1);
        assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
        assert!(lab.read("certs.d/x/hosts.toml").is_some());
        assert_eq!(lab.run(&[]), 1);
        assert_eq!(lab.names(), ["daemon.json", "docxy"]);
    }

    #[test]
    fn what_becomes_of_the_files_after_setup_is_known() {
        let lab = Lab::new();
        let state = |port| lab.journal().state("docker", &lab.files, port).unwrap();
        assert_eq!(state(5080), State::NotSetUp);
        lab.run(&lab.files);
        assert_eq!(state(5080), State::SetUp);
        // With other flags, which the text does not name.
        let other = |value: &str| {
            let mut files = Lab::new().files;
            files.iter_mut().zip(&lab.files).for_each(|(file, here)| {
                (file.path, file.changes) =
                    (here.path.clone(), vec![Change::First(vec!["x".into()], value.into())]);
            });
            lab.run(&files);
        };
        other("there:5080");
        assert_eq!(state(5080), State::SetUp);
        assert!(matches!(state(5081), State::Elsewhere(_)));
        let [config, hosts] = ["daemon.json", "certs.d/x/hosts.toml"].map(|path| lab.root.path().join(path));
        fs::write(&config, lab.read("daemon.json").unwrap().replace("true", "false")).unwrap();
        assert_eq!(state(5080), State::SetUp, "what is not ours may change");
        fs::write(&config, BEFORE).unwrap();
        assert_eq!(state(5080), State::Changed(config));
        other("there:5080");
        fs::remove_file(&hosts).unwrap();
        assert_eq!(state(5080), State::Changed(hosts));
    }

    #[test]
    fn what_the_user_has_set_up_by_hand_is_never_undone() {
        let lab = Lab::new();
        let by_hand = "{\"mirrors\": [\"here\"]}";
        fs::write(lab.root.path().join("daemon.json"), by_hand).unwrap();
        assert_eq!(lab.run(&lab.files), 1);
        assert_eq!(lab.run(&[]), 1);
        assert_eq!(lab.read("daemon.json").as_deref(), Some(by_hand));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_no_record() {
        let mut lab = Lab::new();
        lab.files.truncate(1);
        lab.files[0].path = "/proc/docxy/daemon.json".into();
        let journal = lab.journal();
        let steps = journal.steps("docker", &lab.files).unwrap();
        assert!(journal.carry_out(&steps).is_err());
        assert!(lab.journal().records.is_empty());
    }

    #[test]
    fn a_file_that_is_not_valid_stops_everything_before_anything_is_written() {
        let lab = Lab::new();
        fs::create_dir_all(lab.root.path().join("certs.d/x")).unwrap();
        fs::write(lab.root.path().join("certs.d/x/hosts.toml"), "\n[server").unwrap();
        let error = lab.journal().steps("docker", &lab.files).unwrap_err().to_string();
        assert!(error.contains("certs.d/x/hosts.toml:2: "), "{error}");
        assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
    }
}
