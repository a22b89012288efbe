//! What both programs have in common: a namespace, a folder for their files, and a ready file.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Launch, variant};
use crate::{
    net::{Namespace, command_in},
    process::{PROCESS_TIMEOUT, Process, binary, scratch},
};

/// One of the two programs, with its namespace and its files.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    binary: PathBuf,
    pub(super) namespace: Option<Namespace>,
    pub(super) folder: TempDir,
}

impl Program {
    pub(super) fn new(name: &'static str, namespace: Option<&Namespace>) -> Result<Self> {
        Ok(Self { name, binary: binary(name)?, namespace: namespace.cloned(), folder: scratch()? })
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A command without the developer's environment, except for the log level and the variant's settings.
    pub(super) fn command(&self) -> Command {
        let mut command = command_in(self.namespace.as_ref(), &self.binary);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.folder.path());
        // What is joined and logged in there is this program's own.
        command.env("CONFIGURATION_DIRECTORY", self.path("config"));
        command.env("DOCXY_CACHE", self.path("cache"));
        // Most tests count what crosses. Those of kept layers set the flag.
        command.env("DOCXY_CACHE_SIZE", "0").envs(variant::settings(self.name));
        // The commands of a client find its socket there, and no others.
        command.env("RUNTIME_DIRECTORY", self.path("run"));
        if let Some(level) = std::env::var_os("DOCXY_LOG") {
            command.env("DOCXY_LOG", level);
        }
        command
    }

    /// Starts `command`, which must accept `--ready-file`, and waits until it listens.
    pub(super) fn run(&self, mut command: Command, launch: &Launch) -> Result<(Process, SocketAddr)> {
        let ready = self.path("ready");
        // A file of an earlier run would be mistaken for this run's.
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        command.arg("--ready-file").arg(&ready);
        let (command, streams) = (launch.apply(command), launch.streams()?);
        let mut process = Process::spawn_with(self.name, command, self.folder.path(), streams)?;
        let address = process.wait_for("listen", PROCESS_TIMEOUT, |_| first_address(&ready))?;
        Ok((process, address))
    }
}

/// The first address in a ready file, or `None` while there is no such file. It appears as a whole.
fn first_address(ready: &Path) -> Result<Option<SocketAddr>> {
    if !ready.exists() {
        return Ok(None);
    }
    let content = fs::read_to_string(ready)?;
    let address = content.lines().next().and_then(|line| line.trim().parse().ok());
    Ok(Some(address.with_context(|| format!("no address in the ready file: {content:?}"))?))
}
