//! Two new network namespaces for the two ends of a link.
//! Must never leave a namespace behind: a pair deletes its own on drop, and the next pair deletes those of killed
//! processes.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::process::{is_abandoned, run, unique_name};
use crate::wan::{error::Error, packets::namespace::End};

/// Two namespaces with loopback only. Every pair has the same addresses, as its link is isolated.
#[derive(Debug)]
pub struct NamespacePair {
    /// The client's end by convention.
    pub left: End,
    /// The server's end by convention.
    pub right: End,
}

impl NamespacePair {
    /// The left end's address.
    pub const LEFT: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
    /// The right end's address.
    pub const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

    /// Creates a pair. Needs root and iproute2.
    pub fn new() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        delete_abandoned();
        let name = unique_name();
        let pair = Self {
            left: End::new(format!("{name}-left"), Self::LEFT),
            right: End::new(format!("{name}-right"), Self::RIGHT),
        };
        for end in [&pair.left, &pair.right] {
            ip(&["netns", "add", &end.namespace])?;
            ip(&["-n", &end.namespace, "link", "set", "lo", "up"])?;
        }
        Ok(pair)
    }
}

impl Drop for NamespacePair {
    fn drop(&mut self) {
        for end in [&self.left, &self.right] {
            delete(&end.namespace);
        }
    }
}

impl End {
    /// A command that runs at this end. Its stdin is empty.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/var/run/netns/{}", self.namespace)).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }
}

/// Kills the processes in a namespace and deletes it. Ignores errors, as it may not exist.
fn delete(namespace: &str) {
    let pids = ip(&["netns", "pids", namespace]).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = ip(&["netns", "del", namespace]);
}

/// Deletes the namespaces of processes that were killed.
fn delete_abandoned() {
    // Without the folder, no namespace has been created since boot.
    for entry in fs::read_dir("/var/run/netns").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| is_abandoned(name)) {
            delete(name);
        }
    }
}

pub(in crate::wan) fn ip(arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command, Duration::from_secs(10)).and_then(|finished| finished.succeeded()).map_err(Error::Ip)
}
