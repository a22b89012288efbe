//! A small file system in memory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process::{PROCESS_TIMEOUT, run};

/// A mounted tmpfs, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one with these options over a directory.
    pub fn mount(directory: &Path, options: &str) -> Result<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("{options},mode=700"), "docxy-test"]).arg(directory);
        run(command, PROCESS_TIMEOUT)?.succeeded()?;
        Ok(Self(directory.to_owned()))
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) -> Result<()> {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        run(command, PROCESS_TIMEOUT)?.succeeded().map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(&self.0);
        let _ = run(command, PROCESS_TIMEOUT);
    }
}
