//! A peer that sends: its process and its announcement.
//! Must never know its protocol.

use anyhow::Result;
use docxy_tests::process::{PROCESS_TIMEOUT, Process, scratch};
use tempfile::TempDir;

use crate::{
    peer::{Announcement, LISTENING_PREFIX},
    topology::PeerCommand,
};

/// A running sender.
pub(super) struct Sender {
    process: Process,
    pub(super) announcement: Announcement,
    _log: TempDir,
}

impl Sender {
    /// Starts a sender and waits until it listens.
    pub(super) fn start(call: &PeerCommand) -> Result<Self> {
        let log = scratch()?;
        let mut process = Process::spawn("sender", call.command()?, log.path())?;
        let line = process.wait_for("listen", PROCESS_TIMEOUT, |process| {
            Ok(process.output().lines().find(|line| line.contains(LISTENING_PREFIX)).map(str::to_owned))
        })?;
        Ok(Self { process, announcement: Announcement::parse(&line)?, _log: log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
