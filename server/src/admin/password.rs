//! The admin page's password: only its hash is stored.
//!
//! Must never quote a password in an error.

use crate::state::{State, StateError, random};
use argon2::password_hash::{self, SaltString};
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use docxy_host::files::private_file::{self, FileError};
use docxy_protocol::secret::Secret;
use std::path::PathBuf;

/// The file in the state directory.
const FILE: &str = "admin-password";

/// Characters of a password, at least.
const CHARS_MIN: usize = 10;

/// Bytes of one, at most.
const BYTES_MAX: usize = 1024;

/// Why a password cannot be set or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short or too long.
    #[error("the password must have {CHARS_MIN} characters at least, and {BYTES_MAX} bytes at most")]
    Length,
    /// The two that were typed differ.
    #[error("the two passwords differ: nothing was changed")]
    Differ,
    /// The file is not as it was written.
    #[error("{} is damaged: run docxy-server admin-password again", .0.display())]
    Damaged(PathBuf),
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no random bytes.
    #[error(transparent)]
    State(#[from] StateError),
    /// A bug, or no memory.
    #[error("the password cannot be hashed: {0}")]
    Hash(password_hash::Error),
}

/// A hash of Argon2id, as text (PHC string format).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(String);

impl PasswordHash {
    /// Hashes a password: 19 MiB and some hundredths of a second.
    ///
    /// # Errors
    /// If it is too short or too long.
    pub(crate) fn new(password: &Secret) -> Result<Self, PasswordError> {
        let text = password.expose();
        if text.chars().count() < CHARS_MIN || text.len() > BYTES_MAX {
            return Err(PasswordError::Length);
        }
        let salt = SaltString::encode_b64(&random::<16>()?).map_err(PasswordError::Hash)?;
        let hash = Argon2::default().hash_password(text.as_bytes(), &salt).map_err(PasswordError::Hash)?;
        Ok(Self(hash.to_string()))
    }

    /// The stored one, if a password is set. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub(crate) fn load(state: &State) -> Result<Option<Self>, PasswordError> {
        let path = state.path(FILE);
        let Some(bytes) = private_file::read(&path)? else { return Ok(None) };
        let text = String::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned());
        let valid = text.filter(|text| argon2::PasswordHash::new(text).is_ok());
        valid.map(|text| Some(Self(text))).ok_or(PasswordError::Damaged(path))
    }

    /// Stores it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn store(&self, state: &State) -> Result<(), PasswordError> {
        Ok(private_file::write(&state.path(FILE), format!("{}\n", self.0).as_bytes())?)
    }

    /// Whether it is of this password.
    pub(crate) fn is_of(&self, password: &Secret) -> bool {
        let bytes = password.expose().as_bytes();
        argon2::PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(bytes, &hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert_eq!(PasswordHash::load(&state).unwrap(), None);
        assert!(matches!(PasswordHash::new(&Secret::new("short")), Err(PasswordError::Length)));
        let password = Secret::new("correct horse");
        let hash = PasswordHash::new(&password).unwrap();
        hash.store(&state).unwrap();
        let stored = PasswordHash::load(&state).unwrap().unwrap();
        assert!(stored.is_of(&password) && !stored.is_of(&Secret::new("correct horsf")));
        assert_ne!(PasswordHash::new(&password).unwrap(), hash, "each has a salt of its own");
        std::fs::write(state.path(FILE), "plain").unwrap();
        assert!(matches!(PasswordHash::load(&state), Err(PasswordError::Damaged(_))));
    }
}
