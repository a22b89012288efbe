//! Why a command failed.

use crate::access::InviteError;
use crate::address::AddressError;
use crate::admin::PasswordError;
use crate::listener::ServeError;
use crate::settings::SettingsError;
use crate::state::{ClientsError, StateError};
use docxy_host::files::private_file::FileError;
use docxy_host::process::service::ServiceError;
use docxy_protocol::link::ClientName;
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
    Invite(#[from] InviteError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error("{source}; as root: sudo docxy-server {command} --state {}", state.display())]
    OtherUser { source: StateError, command: String, state: PathBuf },
    #[error("there is no client named {name} in {}; {active}", file.display())]
    UnknownClient { name: ClientName, file: PathBuf, active: String },
    #[error("{0} {checks} failed", checks = if *.0 == 1 { "check" } else { "checks" })]
    Check(usize),
    #[error(
        "a package is no text for a terminal; write it to a file, as in: docxy-server client-package > {0}"
    )]
    PackageOnTerminal(&'static str),
    #[error("stdout is closed, so {0} would be lost: redirect it to a file")]
    NoOutput(&'static str),
    #[error(
        "cannot read the client's package {}: {source}; the .deb and the .rpm of docxy-server bring it; \
         elsewhere build the client with cargo build --release -p docxy-client",
        path.display()
    )]
    ClientPackage { path: PathBuf, source: io::Error },
    #[error("cannot read the password: {0}")]
    Input(#[source] io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
}
