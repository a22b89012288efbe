//! An image that is being written, in temporary files that are deleted if it is not completed.
//!
//! The final name appears only with `publish`. An image that is to be replaced stays until then.

use super::destination::{Destination, OutputFormat};
use super::error::PullError;
use super::tar_plan::{TarEntry, TarPlan};
use std::collections::HashMap;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use tempfile::{Builder, NamedTempFile, TempDir};

/// The beginning of the names of temporary files.
const PREFIX: &str = ".docxy-pull-";

/// How old a temporary file without a lock is, at least, if its pull was killed. A running pull locks its own as soon as it
/// is made.
const ABANDONED_AGE: Duration = Duration::from_secs(60);

/// An incomplete image. The lock on its file or directory says that its pull runs.
#[derive(Debug)]
pub(super) enum StagedImage {
    /// A file, and where the content of each entry is in it.
    Tar { file: NamedTempFile, offsets: HashMap<String, u64> },
    /// An OCI layout, and its lock.
    Directory { directory: TempDir, _lock: File },
}

/// Writes the content of one entry.
#[derive(Debug)]
pub(super) struct EntryWriter {
    file: File,
    offset: u64,
}

impl StagedImage {
    /// Creates the files for these entries.
    pub(super) fn begin(destination: &Destination, entries: Vec<TarEntry>) -> io::Result<Self> {
        let parent = destination.directory();
        remove_abandoned(&parent);
        let mut builder = Builder::new();
        builder.prefix(PREFIX);
        match destination.format {
            OutputFormat::Tar | OutputFormat::Stdout => {
                if destination.format == OutputFormat::Tar {
                    // The usual mode: the umask decides who may read it.
                    builder.permissions(Permissions::from_mode(0o666));
                }
                let file = builder.tempfile_in(&parent)?;
                lock(file.as_file());
                let plan = TarPlan::new(&entries)?;
                for (at, header) in &plan.headers {
                    file.as_file().write_all_at(header, *at)?;
                }
                file.as_file().set_len(plan.length)?;
                let paths = entries.into_iter().map(|entry| entry.path);
                Ok(Self::Tar { file, offsets: paths.zip(plan.contents).collect() })
            }
            OutputFormat::Directory => {
                builder.permissions(Permissions::from_mode(0o777));
                let directory = builder.tempdir_in(&parent)?;
                let opened = File::open(directory.path())?;
                lock(&opened);
                Ok(Self::Directory { directory, _lock: opened })
            }
        }
    }

    /// The writer of an entry. The entry must be one of those announced.
    pub(super) fn writer(&self, path: &str) -> io::Result<EntryWriter> {
        match self {
            Self::Tar { file, offsets } => {
                let offset = offsets.get(path).copied();
                let offset = offset.ok_or_else(|| io::Error::other(format!("{path} was not announced")))?;
                Ok(EntryWriter { file: file.as_file().try_clone()?, offset })
            }
            Self::Directory { directory, .. } => {
                let path = directory.path().join(path);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                // The config is read again.
                let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
                Ok(EntryWriter { file, offset: 0 })
            }
        }
    }

    /// Gives the complete image its final name.
    pub(super) fn publish(self, destination: &Destination) -> Result<(), PullError> {
        let target = &destination.path;
        let published = match self {
            Self::Tar { file, .. } if destination.is_stdout() => write_to_stdout(file.as_file()),
            Self::Tar { file, .. } if destination.replaces => {
                file.persist(target).map(drop).map_err(|e| e.error)
            }
            Self::Tar { file, .. } => file.persist_noclobber(target).map(drop).map_err(|e| e.error),
            Self::Directory { directory, .. } if destination.replaces => {
                replace(target, directory, &destination.directory())
            }
            Self::Directory { directory, .. } => rename_into_place(directory, target),
        };
        published.map_err(|source| match target.symlink_metadata() {
            Ok(_) if !destination.replaces && !destination.is_stdout() => PullError::Exists(target.clone()),
            _ if destination.is_stdout() => PullError::write(Path::new("stdout"), source),
            _ => PullError::write(target, source),
        })
    }
}

impl EntryWriter {
    /// Writes bytes at position `at` of the content.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset + at)
    }

    /// Reads the start of the content.
    pub(super) fn read(&self, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

fn write_to_stdout(mut file: &File) -> io::Result<()> {
    file.seek(io::SeekFrom::Start(0))?;
    let mut stdout = io::stdout().lock();
    io::copy(&mut file, &mut stdout)?;
    stdout.flush()
}

/// Not all file systems have locks. Without them nothing is taken for abandoned.
fn lock(file: &File) {
    if let Err(error) = file.try_lock() {
        tracing::debug!(%error, "the temporary file is not locked");
    }
}

/// Removes what killed pulls left in this directory, as far as that is possible.
fn remove_abandoned(directory: &Path) {
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let about = path.symlink_metadata();
    let is_old =
        |about: &Metadata| about.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED_AGE));
    about.is_ok_and(|about| (about.is_file() || about.is_dir()) && is_old(&about))
        && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Replaces a directory by another. The old one is restored if that fails.
fn replace(target: &Path, directory: TempDir, parent: &Path) -> io::Result<()> {
    // Deleted at the end, with its content.
    let aside = Builder::new().prefix(".docxy-old-").tempdir_in(parent)?;
    let old = aside.path().join("old");
    std::fs::rename(target, &old)?;
    rename_into_place(directory, target).inspect_err(|_| {
        // If this fails too, the error below is the one to report.
        let _ = std::fs::rename(&old, target);
    })
}

fn rename_into_place(directory: TempDir, target: &Path) -> io::Result<()> {
    std::fs::rename(directory.path(), target)?;
    // The temporary name is gone.
    let _ = directory.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;

    fn entry(path: &str, size: u64) -> TarEntry {
        TarEntry { path: path.into(), size }
    }

    /// An image with one file of two letters.
    fn staged(destination: &Destination, content: &str) -> StagedImage {
        let staged = StagedImage::begin(destination, vec![entry("pad", 3), entry("blobs/a", 2)]).unwrap();
        let writer = staged.writer("blobs/a").unwrap();
        writer.write(1, &content.as_bytes()[1..]).unwrap();
        writer.write(0, &content.as_bytes()[..1]).unwrap();
        assert_eq!(writer.read(2).unwrap(), content.as_bytes());
        staged
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = dir.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_image_appears_when_it_is_complete() {
        for name in ["image.tar", "image"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let destination = Destination::new(path.clone(), false).unwrap();
            drop(staged(&destination, "no"));
            assert!(names(&dir).is_empty(), "an incomplete image leaves nothing");
            staged(&destination, "hi").publish(&destination).unwrap();
            assert_eq!(names(&dir), [name]);
            let usual = dir.path().join("usual");
            if name == "image" { std::fs::create_dir(&usual) } else { std::fs::write(&usual, "") }.unwrap();
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&usual), "others may read it, as far as the umask lets them");
        }
    }

    #[test]
    fn an_old_image_stays_until_the_new_one_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("oci-layout"), "old").unwrap();
        let destination = Destination::new(path.clone(), true).unwrap();
        let staged = staged(&destination, "hi");
        assert_eq!(read_to_string(path.join("oci-layout")).unwrap(), "old");
        staged.publish(&destination).unwrap();
        assert_eq!(read_to_string(path.join("blobs/a")).unwrap(), "hi");
        assert!(!path.join("oci-layout").exists());
        assert_eq!(names(&dir), ["image"], "nothing of the old one is left");
    }

    #[test]
    fn what_a_killed_pull_left_is_removed_by_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let make_old = |path: &Path| {
            let at = std::time::SystemTime::now() - 2 * ABANDONED_AGE;
            File::open(path).unwrap().set_modified(at).unwrap();
        };
        std::fs::create_dir(path(".docxy-pull-directory")).unwrap();
        for name in [".docxy-pull-file", ".docxy-pull-directory/a", ".docxy-pull-new", ".docxy-old-1"] {
            std::fs::write(path(name), "").unwrap();
        }
        let running = ["1.tar", "1"].map(|name| {
            let running = staged(&Destination::new(path(name), false).unwrap(), "hi");
            names(&dir).iter().map(|name| path(name)).for_each(|path| make_old(&path));
            running
        });
        std::fs::write(path(".docxy-pull-new"), "").unwrap();
        drop(staged(&Destination::new(path("2"), false).unwrap(), "hi"));
        let left = names(&dir);
        assert!(
            left.contains(&".docxy-pull-new".into()) && left.contains(&".docxy-old-1".into()),
            "{left:?}"
        );
        assert_eq!(left.len(), 4, "the running ones stay, and no others: {left:?}");
        for (running, name) in running.into_iter().zip(["1.tar", "1"]) {
            running.publish(&Destination::new(path(name), false).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_file_created_meanwhile_is_not_overwritten() {
        for name in ["image.tar", "image"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let destination = Destination::new(path.clone(), false).unwrap();
            let staged = staged(&destination, "hi");
            std::fs::write(&path, "somebody else's").unwrap();
            assert!(matches!(staged.publish(&destination), Err(PullError::Exists(_))));
            assert_eq!(read_to_string(&path).unwrap(), "somebody else's");
            assert_eq!(names(&dir), [name]);
        }
    }
}
