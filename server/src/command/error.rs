//! Why a command failed.

use crate::address::AddressError;
use crate::listener::ServeError;
use crate::settings::SettingsError;
use crate::state::{ClientsError, StateError};
use docxy_host::private_file::FileError;
use std::io;
use std::path::PathBuf;

/// Why a command failed. The text is for the operator.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the errors are documented where they are made")]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Clients(#[from] ClientsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error(
        "there is no {}: with --clients-file, copy it there from one of the servers that share the file, or \
         name the state directory of one with --state",
        .0.display()
    )]
    NoIdentity(PathBuf),
    #[error("{0} {checks} failed", checks = if *.0 == 1 { "check" } else { "checks" })]
    Check(usize),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
}
