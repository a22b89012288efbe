//! Passwords in files of their own.
//!
//! Must never quote a password in an error.

use super::input_file;
use docxy_protocol::secret::Secret;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file holds no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("cannot read password_file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing before the end of its line.
    #[error("the password in {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the password in this file.
///
/// # Errors
/// If the file cannot be read, or is empty.
pub fn read(path: &Path) -> Result<Secret, PasswordFileError> {
    let text = input_file::read_to_string(path)
        .map_err(|source| PasswordFileError::Read { path: path.to_owned(), source })?;
    parse(&text).ok_or_else(|| PasswordFileError::Empty { path: path.to_owned() })
}

/// The password in this text, without the newline with which editors and `echo` end a file. `None` if it is empty.
#[must_use]
pub fn parse(text: &str) -> Option<Secret> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    (!text.is_empty()).then(|| Secret::new(text))
}
