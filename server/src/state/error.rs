//! Why the state cannot be used.

use docxy_host::files::private_file::{self, FileError};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// An error with a file of the state directory.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what the system said")]
pub enum StateError {
    /// The directory cannot be made.
    #[error("cannot create the state directory {}: {source}; pass another with --state DIR", path.display())]
    Create { path: PathBuf, source: io::Error },
    /// There is none.
    #[error(
        "there is no state of a docxy-server in {}: `docxy-server run` makes it; pass another directory with --state DIR, \
         or, with --clients-file, copy identity.pem there from a server that shares the file",
        directory.display()
    )]
    NotThere { directory: PathBuf },
    /// A file cannot be read, written or locked.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another server runs on this directory.
    #[error(
        "another docxy-server{} uses the state directory {}: stop that one first, or give this one \
         another directory with --state DIR",
        process.map(|process| format!(" (process {process})")).unwrap_or_default(),
        directory.display()
    )]
    InUse { directory: PathBuf, process: Option<u32> },
    /// A file's content is invalid.
    #[error("{} is damaged ({detail}); {remedy}", path.display())]
    Damaged { path: PathBuf, detail: String, remedy: &'static str },
    /// The identity was there before: the clients have links with its pin.
    #[error("there is no {}, and the links of all clients are for the key in it: {remedy}", path.display())]
    IdentityLost { path: PathBuf, remedy: String },
    /// The clients' file was there before.
    #[error(
        "{} is gone, and with it all clients: mount its file system, or restore it from a backup; if all clients are to \
         be invited anew, delete {} first",
        path.display(), known.display()
    )]
    ClientsLost { path: PathBuf, known: PathBuf },
    /// Another clients' file than the server's.
    #[error(
        "the server of this state directory reads the clients in {}, not in {}: leave out --clients-file, or start the \
         server with the other one first",
        of_server.display(), given.display()
    )]
    OtherClients { given: PathBuf, of_server: PathBuf },
    /// Keys cannot be made.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl StateError {
    /// The content of this file is invalid for this reason.
    pub(super) fn damaged(path: &Path, detail: impl Display, remedy: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.to_string(), remedy }
    }

    /// Whether there is no room for a file.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Create { source, .. } => private_file::is_full(source),
            Self::File(error) => error.is_full(),
            _ => false,
        }
    }
}
