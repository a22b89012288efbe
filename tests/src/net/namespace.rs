//! One network namespace: running commands in it, and asking what can be reached from it.
//! Must never use `ip netns exec`: it mounts a fresh /sys, in which dockerd finds no cgroups.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;

use crate::process::run;

/// A network namespace of a [`Lab`](super::Lab), by name: a handle that is free to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

/// A command that runs in `namespace`, or on the machine's own network if there is none. It reads no input.
pub fn command_in(namespace: Option<&Namespace>, program: impl AsRef<OsStr>) -> Command {
    match namespace {
        Some(namespace) => namespace.command(program),
        None => {
            let mut command = Command::new(program);
            command.stdin(Stdio::null());
            command
        }
    }
}

impl Namespace {
    /// A command that runs in here. It reads no input, and its process is the program's own: `nsenter` execs it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Why a TCP connection from here to `address` fails, or `None` if it succeeds.
    pub fn connect_error(&self, address: SocketAddr) -> Result<Option<String>> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let mut command = self.command("timeout");
        command.arg(PATIENCE.as_secs().to_string());
        command.args(["bash", "-c", &format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port())]);
        let finished = run(command, PATIENCE * 2)?;
        let why = if finished.stderr.is_empty() { "no answer".to_owned() } else { finished.stderr };
        Ok((!finished.status.success()).then_some(why))
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    pub(super) fn create(&self) -> Result<()> {
        ip(&["netns", "add", &self.name])?;
        ip(&["-n", &self.name, "link", "set", "lo", "up"])?;
        // A new namespace takes the machine's own setting, which is on wherever Docker has been installed.
        for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            let mut command = self.command("sh");
            command.args(["-c", r#"[ ! -e "$0" ] || echo 0 > "$0""#, &format!("/proc/sys/{setting}")]);
            run(command, Duration::from_secs(5))?.succeeded()?;
        }
        Ok(())
    }

    /// Deletes it, and first kills whatever still runs in it. Quiet: there may be nothing to delete.
    pub(super) fn delete(&self) {
        if !self.path().exists() {
            return;
        }
        if let Ok(pids) = ip(&["netns", "pids", &self.name]) {
            for pid in pids.lines() {
                let _ = Command::new("sh")
                    .args(["-c", r#"kill -s KILL "$0""#, pid])
                    .stderr(Stdio::null())
                    .status();
            }
        }
        let _ = ip(&["netns", "del", &self.name]);
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/var/run/netns").join(&self.name)
    }
}

/// Names of all namespaces on this machine, ours or not.
pub(super) fn names() -> Vec<String> {
    // No folder: none has been made since the machine started.
    let entries = fs::read_dir("/var/run/netns").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Runs `ip` and returns what it printed.
pub(super) fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command, Duration::from_secs(10))?.succeeded()
}
