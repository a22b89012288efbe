//! Why a command failed.

use super::login::LoginError;
use super::setup::SetupError;
use crate::command::setup::engines::PlanError;
use crate::command::setup::journal::JournalError;
use crate::frontend::ListenError;
use crate::images::pull::{DestinationError, PullError};
use crate::images::warm::ImageListError;
use crate::settings::{LinksError, SettingsError};
use crate::status::NotRunning;
use docxy_host::blob_store::OpenError;
use docxy_host::process::service::ServiceError;
use docxy_protocol::link::find_link;
use docxy_protocol::name::Registry;
use docxy_protocol::text::CleanText;
use std::io;
use std::path::PathBuf;

/// The text instead of one that would quote a link.
pub(super) const MISPLACED_LINK: &str =
    "a link does not belong there; `docxy-client join` takes it, and `links trust` and `links remove` do";

/// Why a command failed. The text is for the user.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "most errors are documented where they are made")]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Links(#[from] LinksError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Cache(#[from] OpenError),
    #[error("the client that runs on this machine keeps no layers: {0}")]
    NoCache(String),
    #[error("the docxy-client that runs on this machine has ended, or does not respond; try again")]
    RunningClientLost,
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error("cannot read the input: {0}")]
    Input(#[source] io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
    #[error(
        "the link to {server} is refused, and nothing was stored (--offline stores a link without asking its server): {reason}"
    )]
    LinkRefused { server: String, reason: CleanText },
    #[error("no link to {server} is stored in {}; docxy-client links lists them", file.display())]
    UnknownServer { server: String, file: PathBuf },
    #[error("{server} may be any of these: name one of them, with its ports: {}", candidates.join(" "))]
    AmbiguousServer { server: String, candidates: Vec<String> },
    #[error(transparent)]
    NotRunning(NotRunning),
    #[error("the tunnel is not up; docxy-client doctor says what is wrong")]
    NotUp,
    #[error("{0} {faults} found", faults = if *.0 == 1 { "fault" } else { "faults" })]
    Faults(usize),
    #[error(
        "--creds is an account of one registry, and these images are of {one} and {other}: pull them one by one"
    )]
    SeveralRegistries { one: Registry, other: Registry },
    /// By a signal.
    #[error("interrupted; nothing was stored")]
    Interrupted,
    /// By a signal.
    #[error("interrupted; what has arrived is kept")]
    WarmInterrupted,
    #[error(transparent)]
    Images(#[from] ImageListError),
    #[error("nothing can be kept: {0}")]
    NothingKept(String),
    #[error("not kept: {}", .0.join(", "))]
    NotWarmed(Vec<String>),
}

impl CommandError {
    /// The exit code: that of shells for a program that a signal has ended, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if matches!(self, Self::Interrupted | Self::WarmInterrupted) { 130 } else { 1 }
    }

    /// The text for the user. A link that was typed where a name or a path belongs is not quoted.
    #[must_use]
    pub fn message(&self) -> String {
        let text = self.to_string();
        match find_link(&text) {
            Some(start) if text[start..].contains('@') => MISPLACED_LINK.to_owned(),
            _ => text,
        }
    }
}
