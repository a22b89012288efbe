//! Checks where an image is written, so that no other file is lost.
//!
//! Runs before anything is fetched. Writes nothing.

use docxy_host::process::terminal::is_stdout_closed;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Reference;
use docxy_protocol::platform::Platform;
use std::fs::Metadata;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Why an image cannot be written there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the path and the error of the system")]
pub enum DestinationError {
    /// Something exists, and `--force` is missing.
    #[error("{} exists already: choose another with -o, or pass --force to replace it", .0.display())]
    Exists(PathBuf),
    /// Something else exists.
    #[error("{} exists and is not {kind}, so --force does not replace it: choose another with -o", path.display())]
    NotReplaceable { path: PathBuf, kind: &'static str },
    /// Layers are compressed already.
    #[error("{} would be compressed twice: a name that ends in .tar makes an archive, any other a \
             directory", .0.display())]
    Compressed(PathBuf),
    /// A tar is nothing for a person to read.
    #[error("stdout is a terminal: redirect it, as in docxy-client pull alpine -o - | docker load")]
    Terminal,
    /// What is written there is lost.
    #[error(
        "stdout is closed, so the image would be lost: redirect it, as in docxy-client pull alpine -o - > alpine.tar"
    )]
    Closed,
    /// Several images cannot be one file.
    #[error("several images need a directory that exists, and {} is none", .0.display())]
    Several(PathBuf),
    /// Two images have the same name.
    #[error("two images would be written to {}: pull them one by one, with -o", .0.display())]
    Twice(PathBuf),
    /// Not the name of a new file.
    #[error("{} is not a name for a new file or directory", .0.display())]
    NoName(PathBuf),
    /// The directory is missing, or not writable.
    #[error("cannot write to {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
}

/// The format of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// One file that engines load.
    Tar,
    /// The same on stdout, once it is complete.
    Stdout,
    /// An OCI layout.
    Directory,
}

/// A path that may be written to.
#[derive(Debug)]
pub struct Destination {
    pub(super) path: PathBuf,
    pub(super) format: OutputFormat,
    pub(super) replaces: bool,
}

impl Destination {
    /// A destination: stdout if the path is `-`, a tar if it ends in `.tar`, else a directory. With `force`, an earlier
    /// image may be replaced.
    ///
    /// # Errors
    /// If the path cannot be written to.
    pub fn new(path: PathBuf, force: bool) -> Result<Self, DestinationError> {
        if path.as_os_str() == "-" {
            if std::io::stdout().is_terminal() {
                return Err(DestinationError::Terminal);
            }
            if is_stdout_closed() {
                return Err(DestinationError::Closed);
            }
            return Ok(Self { path, format: OutputFormat::Stdout, replaces: false });
        }
        let Some(name) = path.file_name() else {
            return Err(DestinationError::NoName(path));
        };
        let name = name.to_string_lossy().to_ascii_lowercase();
        if [".tar.gz", ".tgz", ".tar.zst", ".tar.xz"].iter().any(|ending| name.ends_with(ending)) {
            return Err(DestinationError::Compressed(path));
        }
        let format = if name.ends_with(".tar") { OutputFormat::Tar } else { OutputFormat::Directory };
        // A symbolic link counts as existing even if its target does not.
        let found = path.symlink_metadata().ok();
        match &found {
            Some(_) if !force => return Err(DestinationError::Exists(path)),
            Some(found) => format.check_replaceable(&path, found)?,
            None => {}
        }
        let destination = Self { format, replaces: found.is_some(), path };
        let directory = destination.directory();
        match directory.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(destination),
            Ok(_) => Err(DestinationError::Directory {
                path: directory,
                source: std::io::ErrorKind::NotADirectory.into(),
            }),
            Err(source) => Err(DestinationError::Directory { path: directory, source }),
        }
    }

    /// Its path, for the user.
    #[must_use]
    pub fn display(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Whether it is stdout.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.format == OutputFormat::Stdout
    }

    /// Where it is written until it is complete: its parent directory.
    pub(super) fn directory(&self) -> PathBuf {
        match self.path.parent() {
            _ if self.is_stdout() => std::env::temp_dir(),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}

impl OutputFormat {
    /// A mistyped `-o` must not delete a home directory.
    fn check_replaceable(self, path: &Path, found: &Metadata) -> Result<(), DestinationError> {
        let (is_ours, kind) = match self {
            Self::Tar | Self::Stdout => (found.is_file(), "a file"),
            Self::Directory => (found.is_dir() && path.join("oci-layout").is_file(), "an OCI layout"),
        };
        if is_ours { Ok(()) } else { Err(DestinationError::NotReplaceable { path: path.to_owned(), kind }) }
    }
}

/// The default file name of an image: `alpine-3.19.tar`.
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
            ("..", "is not a name", "is not a name"),
        ] {
            for (force, message) in [(false, without_force), (true, with_force)] {
                match Destination::new(path(name), force) {
                    Ok(_) => assert_eq!(message, "", "{name}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(!message.is_empty() && text.contains(message), "{name}: {text}");
                    }
                }
            }
        }
    }
}
