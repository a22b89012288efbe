//! The address in links that `run` was started with, so that `invite` needs no flag.
//!
//! Must never keep the server from starting: without the file, `invite` asks for the address.

use super::directory::State;
use super::error::StateError;
use crate::address::PublicAddress;
use docxy_host::files::private_file;
use docxy_protocol::link::Host;
use std::path::PathBuf;

/// Bytes that must be free: on an almost full disk the space is for invitations.
const FREE_BYTES_MIN: u64 = 64 * 1024;

impl State {
    /// Remembers the address.
    pub(crate) fn remember_public_address(&self, host: &Host, port: u16) {
        let (path, text) = (self.public_address_file(), format!("{}:{port}\n", host.in_url()));
        if private_file::read(&path).ok().flatten().is_some_and(|known| known == text.as_bytes()) {
            return;
        }
        let has_space = private_file::free_bytes(self.directory()).is_ok_and(|free| free >= FREE_BYTES_MIN);
        if !has_space {
            return tracing::warn!("invite needs --public: the disk is almost full");
        }
        if let Err(error) = private_file::write(&path, text.as_bytes()) {
            tracing::warn!(%error, "invite needs --public: the address in links is not remembered");
        }
    }

    /// The address that the last `run --public` had.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn public_address(&self) -> Result<Option<PublicAddress>, StateError> {
        let path = self.public_address_file();
        let Some(content) = private_file::read(&path)? else { return Ok(None) };
        let address = String::from_utf8_lossy(&content).trim().parse();
        address.map(Some).map_err(|error| {
            StateError::damaged(&path, error, "delete it, and pass --public, or start the server again")
        })
    }

    fn public_address_file(&self) -> PathBuf {
        self.path("public")
    }
}
