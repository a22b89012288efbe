//! Where an image is to be put, and that nothing else is lost there.
//!
//! Decides and checks before anything is fetched. Writes nothing.

use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Reference;
use docxy_protocol::platform::Platform;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// Why an image cannot be put there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the path and what the system said")]
pub enum DestinationError {
    /// Something is there, and nobody said that it may go.
    #[error("{} exists already: choose another with -o, or pass --force to replace it", .0.display())]
    Exists(PathBuf),
    /// Something is there that replacing would be a mishap for.
    #[error("{} exists and is not {kind}, so --force does not replace it: choose another with -o", path.display())]
    NotReplaceable { path: PathBuf, kind: &'static str },
    /// Layers are compressed as they are.
    #[error("{} would be compressed twice: a name that ends in .tar makes an archive, any other a \
             directory", .0.display())]
    Compressed(PathBuf),
    /// Not a place for a new file.
    #[error("{} is no name for a new file or directory", .0.display())]
    NoName(PathBuf),
    /// It isn't there, or isn't ours.
    #[error("cannot write to {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
}

/// How an image is laid out on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One file that engines load.
    Tar,
    /// An OCI layout.
    Directory,
}

/// A place that may be written to.
#[derive(Debug)]
pub struct Destination {
    pub(super) path: PathBuf,
    pub(super) form: Form,
    pub(super) replaces: bool,
}

impl Destination {
    /// A place by its path: a tar where it ends in `.tar`, a directory otherwise. With `force`,
    /// what is there may be replaced if it could be from us.
    ///
    /// # Errors
    /// Where the path is no place to write to.
    pub fn new(path: PathBuf, force: bool) -> Result<Self, DestinationError> {
        let Some(name) = path.file_name() else {
            return Err(DestinationError::NoName(path));
        };
        let name = name.to_string_lossy().to_ascii_lowercase();
        if [".tar.gz", ".tgz", ".tar.zst", ".tar.xz"].iter().any(|ending| name.ends_with(ending)) {
            return Err(DestinationError::Compressed(path));
        }
        let form = if name.ends_with(".tar") { Form::Tar } else { Form::Directory };
        // A link counts as being there even if what it leads to isn't.
        let found = path.symlink_metadata().ok();
        match &found {
            Some(_) if !force => return Err(DestinationError::Exists(path)),
            Some(found) => form.check_replaceable(&path, found)?,
            None => {}
        }
        let destination = Self { form, replaces: found.is_some(), path };
        let directory = destination.directory();
        match directory.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(destination),
            Ok(_) => Err(DestinationError::Directory {
                path: directory.to_owned(),
                source: std::io::ErrorKind::NotADirectory.into(),
            }),
            Err(source) => Err(DestinationError::Directory { path: directory.to_owned(), source }),
        }
    }

    /// The directory that it is in.
    pub(super) fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

impl Form {
    /// A user who mistypes `-o` must not lose a home directory.
    fn check_replaceable(self, path: &Path, found: &Metadata) -> Result<(), DestinationError> {
        let (is_ours, kind) = match self {
            Self::Tar => (found.is_file(), "a file"),
            Self::Directory => (found.is_dir() && path.join("oci-layout").is_file(), "an OCI layout"),
        };
        if is_ours { Ok(()) } else { Err(DestinationError::NotReplaceable { path: path.to_owned(), kind }) }
    }
}

/// The file for an image where the user names none: `alpine-3.19.tar`.
#[must_use]
pub fn default_name(image: &ImageName, platform: Option<&Platform>) -> String {
    let name = image.repository.as_str();
    let name = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let version = match &image.reference {
        Reference::Tag(tag) => tag.as_str(),
        Reference::Digest(digest) => &digest.hex()[..12],
    };
    let platform = platform.map(|p| format!("-{p}").replace('/', "-")).unwrap_or_default();
    format!("{name}-{version}{platform}.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_gives_its_name_to_its_file() {
        let digest = format!("alpine@sha256:{}", "0123456789abcdef".repeat(4));
        for (image, platform, expected) in [
            ("alpine", None, "alpine-latest.tar"),
            ("ghcr.io/owner/app:1.2", None, "app-1.2.tar"),
            ("alpine:3", Some("linux/arm/v7"), "alpine-3-linux-arm-v7.tar"),
            (&*digest, None, "alpine-0123456789ab.tar"),
        ] {
            let platform: Option<Platform> = platform.map(|p| p.parse().unwrap());
            assert_eq!(default_name(&image.parse().unwrap(), platform.as_ref()), expected);
        }
    }

    #[test]
    fn nothing_is_overwritten_by_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("old.tar"), "").unwrap();
        std::fs::create_dir(path("home")).unwrap();
        std::fs::create_dir(path("layout")).unwrap();
        std::fs::write(path("layout/oci-layout"), "{}").unwrap();
        std::fs::create_dir(path("dir.tar")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("link.tar")).unwrap();
        for (name, without_force, with_force) in [
            ("new.tar", "", ""),
            ("new", "", ""),
            ("old.tar", "exists already", ""),
            ("layout", "exists already", ""),
            ("home", "exists already", "is not an OCI layout"),
            ("dir.tar", "exists already", "is not a file"),
            ("link.tar", "exists already", "is not a file"),
            ("nowhere/new.tar", "nowhere: No such file", "nowhere: No such file"),
            ("old.tar/new", "old.tar: not a directory", "old.tar: not a directory"),
            ("new.tar.gz", "compressed twice", "compressed twice"),
            ("..", "is no name", "is no name"),
        ] {
            for (force, words) in [(false, without_force), (true, with_force)] {
                match Destination::new(path(name), force) {
                    Ok(_) => assert_eq!(words, "", "{name}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(!words.is_empty() && text.contains(words), "{name}: {text}");
                    }
                }
            }
        }
    }
}
