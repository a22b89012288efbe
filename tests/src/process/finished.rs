//! Commands that run to their end, with their output.
//! Must never let a command run past its timeout: an engine that cannot reach its origin may wait for minutes.

use std::{
    fs::File,
    io::{Read, Seek},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::wait;

/// The result of a command.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// Runs `command` to its end; past `timeout` it is killed, which is an error.
pub fn run(mut command: Command, timeout: Duration) -> Result<Finished> {
    // Files, not pipes: they need no reader.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let line = format!("{command:?}");
    let mut child = command.spawn().with_context(|| format!("cannot start {line}"))?;
    let Some(status) = wait(&mut child, timeout)? else {
        child.kill()?;
        child.wait()?;
        bail!("{line} still ran after {timeout:?}\n{}{}", content(&mut stdout)?, content(&mut stderr)?);
    };
    Ok(Finished { command: line, status, stdout: content(&mut stdout)?, stderr: content(&mut stderr)? })
}

impl Finished {
    /// Its stdout, if it succeeded.
    pub fn succeeded(self) -> Result<String> {
        if !self.status.success() {
            bail!("{} ended with {}\n{}{}", self.command, self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }

    /// Its stderr, if it failed.
    pub fn refused(self) -> Result<String> {
        if self.status.success() {
            bail!("{} was to fail, but succeeded\n{}{}", self.command, self.stdout, self.stderr);
        }
        Ok(self.stderr)
    }
}

fn content(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
