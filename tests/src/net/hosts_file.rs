//! Names and their addresses for one program, instead of DNS: an `/etc/hosts` of its own.
//! Must never change the machine's own file: the program gets a mount namespace.

use std::{fs, net::IpAddr};

use anyhow::Result;
use tempfile::TempDir;

use crate::{docxy::Launch, process::scratch};

/// The file. It must live as long as the program.
#[derive(Debug)]
pub struct HostsFile {
    folder: TempDir,
}

impl HostsFile {
    /// A file with these names; one may have several addresses.
    pub fn new(hosts: &[(&str, IpAddr)]) -> Result<Self> {
        let file = Self { folder: scratch()? };
        file.write(hosts)?;
        Ok(file)
    }

    /// Replaces all names, for a running program too.
    pub fn write(&self, hosts: &[(&str, IpAddr)]) -> Result<()> {
        let lines: String = hosts.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        // In place: a program has this file mounted.
        Ok(fs::write(self.path(), lines)?)
    }

    /// Starts a program with this file.
    pub fn launch(&self) -> Launch {
        let script = r#"file=$0; mount --bind "$file" /etc/hosts && exec "$@""#;
        Launch::under(&[
            "unshare",
            "--mount",
            "--propagation=private",
            "--",
            "sh",
            "-c",
            script,
            &self.path(),
        ])
    }

    fn path(&self) -> String {
        self.folder.path().join("hosts").display().to_string()
    }
}
