//! One network namespace: runs commands in it, and checks which addresses it can reach.
//! Must never use `ip netns exec`: that mounts a fresh /sys, in which dockerd finds no cgroups.

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

/// The name of a network namespace of a [`Lab`](super::Lab). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

/// A command that runs in `namespace`, or in the machine's own network if that is `None`. Its stdin is empty.
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
    /// A command that runs in this namespace. Its stdin is empty. `nsenter` execs the program, so the process id is
    /// the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// The error of a TCP connection from here to `address`, or `None` if it succeeds.
    pub fn connect_error(&self, address: SocketAddr) -> Result<Option<String>> {
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
        let mut command = self.command("timeout");
        command.arg(CONNECT_TIMEOUT.as_secs().to_string());
        command.args(["bash", "-c", &format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port())]);
        let finished = run(command, CONNECT_TIMEOUT * 2)?;
        let why = if finished.stderr.is_empty() { "no answer".to_owned() } else { finished.stderr };
        Ok((!finished.status.success()).then_some(why))
    }

    /// Its name, as `ip netns` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    pub(super) fn create(&self) -> Result<()> {
        ip(&["netns", "add", &self.name])?;
        ip(&["-n", &self.name, "link", "set", "lo", "up"])?;
        // A new namespace inherits the machine's setting, which is on wherever Docker has been installed.
        for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            let mut command = self.command("sh");
            command.args(["-c", r#"[ ! -e "$0" ] || echo 0 > "$0""#, &format!("/proc/sys/{setting}")]);
            run(command, Duration::from_secs(5))?.succeeded()?;
        }
        Ok(())
    }

    /// Kills the processes in the namespace and deletes it. Ignores errors, as it may not exist.
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

/// The names of all namespaces on this machine.
pub(super) fn names() -> Vec<String> {
    // Without the folder, no namespace has been created since boot.
    let entries = fs::read_dir("/var/run/netns").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Runs `ip` and returns its output.
pub(super) fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command, Duration::from_secs(10))?.succeeded()
}
