//! The resources that a process has used: processor time and memory, as the kernel counts them.
//! Must be read before the process ends, when the kernel drops the counters.

use std::{fs, ops::Sub};

use anyhow::{Context, Result};
use docxy_tests::process::processor_seconds;
use serde::{Deserialize, Serialize};

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds of processor time, in user and kernel mode.
    pub(crate) cpu: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak_rss: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("{path}: the process has ended"))
        };
        let status = read("status")?;
        Ok(Self {
            cpu: processor_seconds(pid)?,
            peak_rss: peak_rss(&status).with_context(|| format!("no VmHWM of process {pid}"))?,
        })
    }

    /// Of this process.
    pub(crate) fn own() -> Result<Self> {
        Self::of(std::process::id())
    }
}

/// The processor time since `earlier`; the peak memory is not reset.
impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { cpu: self.cpu - earlier.cpu, peak_rss: self.peak_rss }
    }
}

fn peak_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::own().unwrap().peak_rss > 100_000);
    }
}
