//! An image while it is being written: beside its later place, and gone if it isn't finished.
//!
//! Nothing appears under the final name before `publish`, and whatever was there stays until then.

use super::destination::{Destination, Form};
use super::tar_plan::{Entry, TarPlan};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

/// An unfinished image.
#[derive(Debug)]
pub(super) struct Draft {
    entries: Vec<Entry>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Tar { file: NamedTempFile, contents: Vec<u64> },
    Directory(TempDir),
}

/// Room for one entry's content.
#[derive(Debug)]
pub(super) struct Slot {
    file: File,
    offset: u64,
}

impl Draft {
    /// Makes room for all of these.
    pub(super) fn begin(destination: &Destination, entries: Vec<Entry>) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(".docxy-pull-");
        let place = match destination.form {
            Form::Tar => {
                // As if it were no temporary file: for whom the umask says.
                builder.permissions(Permissions::from_mode(0o666));
                let file = builder.tempfile_in(destination.directory())?;
                let plan = TarPlan::new(&entries)?;
                for (at, header) in &plan.headers {
                    file.as_file().write_all_at(header, *at)?;
                }
                file.as_file().set_len(plan.length)?;
                Place::Tar { file, contents: plan.contents }
            }
            Form::Directory => {
                builder.permissions(Permissions::from_mode(0o777));
                Place::Directory(builder.tempdir_in(destination.directory())?)
            }
        };
        Ok(Self { entries, place })
    }

    /// The room for an entry. Must be one of those that were announced.
    pub(super) fn slot(&self, path: &str) -> io::Result<Slot> {
        let position = self.entries.iter().position(|entry| entry.path == path);
        let n = position.ok_or_else(|| io::Error::other(format!("no room was made for {path}")))?;
        match &self.place {
            Place::Tar { file, contents } => {
                Ok(Slot { file: file.as_file().try_clone()?, offset: contents[n] })
            }
            Place::Directory(directory) => {
                let path = directory.path().join(path);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                // Read as well: an image's config is looked at when it is there.
                let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
                Ok(Slot { file, offset: 0 })
            }
        }
    }

    /// Gives the finished image its name.
    pub(super) fn publish(self, destination: &Destination) -> io::Result<()> {
        let target = &destination.path;
        match self.place {
            Place::Tar { file, .. } if destination.replaces => file.persist(target).map(drop)?,
            Place::Tar { file, .. } => file.persist_noclobber(target).map(drop)?,
            Place::Directory(directory) if destination.replaces => {
                replace(target, directory, destination.directory())?;
            }
            Place::Directory(directory) => rename_into_place(directory, target)?,
        }
        Ok(())
    }
}

impl Slot {
    /// Writes a part of the content, `at` bytes into it.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset + at)
    }

    /// Reads the content's beginning again.
    pub(super) fn read(&self, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Puts the directory in the place of another, which comes back if that fails.
fn replace(target: &Path, directory: TempDir, parent: &Path) -> io::Result<()> {
    // Deleted with what is in it at the end.
    let aside = Builder::new().prefix(".docxy-old-").tempdir_in(parent)?;
    let old = aside.path().join("old");
    std::fs::rename(target, &old)?;
    rename_into_place(directory, target).inspect_err(|_| {
        // Should this fail as well, the error below is still the one to tell.
        let _ = std::fs::rename(&old, target);
    })
}

fn rename_into_place(directory: TempDir, target: &Path) -> io::Result<()> {
    std::fs::rename(directory.path(), target)?;
    // There is nothing to delete under the old name.
    let _ = directory.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;

    fn entry(path: &str, size: u64) -> Entry {
        Entry { path: path.into(), size }
    }

    /// Begins an image of one file with two letters in it.
    fn draft(destination: &Destination, content: &str) -> Draft {
        let draft = Draft::begin(destination, vec![entry("pad", 3), entry("blobs/a", 2)]).unwrap();
        let slot = draft.slot("blobs/a").unwrap();
        slot.write(1, &content.as_bytes()[1..]).unwrap();
        slot.write(0, &content.as_bytes()[..1]).unwrap();
        assert_eq!(slot.read(2).unwrap(), content.as_bytes());
        draft
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = dir.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_image_appears_when_it_is_finished_and_not_before() {
        for name in ["image.tar", "image"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let destination = Destination::new(path.clone(), false).unwrap();
            drop(draft(&destination, "no"));
            assert!(names(&dir).is_empty(), "an abandoned draft leaves nothing");
            draft(&destination, "hi").publish(&destination).unwrap();
            assert_eq!(names(&dir), [name]);
            let usual = dir.path().join("usual");
            if name == "image" { std::fs::create_dir(&usual) } else { std::fs::write(&usual, "") }.unwrap();
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&usual), "others may read it, as far as the umask lets them");
        }
    }

    #[test]
    fn what_is_replaced_stays_until_the_new_one_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("oci-layout"), "old").unwrap();
        let destination = Destination::new(path.clone(), true).unwrap();
        let draft = draft(&destination, "hi");
        assert_eq!(read_to_string(path.join("oci-layout")).unwrap(), "old");
        draft.publish(&destination).unwrap();
        assert_eq!(read_to_string(path.join("blobs/a")).unwrap(), "hi");
        assert!(!path.join("oci-layout").exists());
        assert_eq!(names(&dir), ["image"], "nothing of the old one is left");
    }

    #[test]
    fn what_came_in_between_is_not_overwritten() {
        for name in ["image.tar", "image"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let destination = Destination::new(path.clone(), false).unwrap();
            let draft = draft(&destination, "hi");
            std::fs::write(&path, "somebody else's").unwrap();
            assert!(draft.publish(&destination).is_err());
            assert_eq!(read_to_string(&path).unwrap(), "somebody else's");
            assert_eq!(names(&dir), [name]);
        }
    }
}
