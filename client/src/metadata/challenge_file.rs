//! The file that keeps challenges over restarts.
//!
//! Reading and writing only. What makes no sense in it counts as not being there.

use super::challenges::Said;
use crate::private_file;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::name::Registry;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of the file that are read: 256 registries with the longest of challenges.
const MOST: u64 = 2 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Line {
    registry: Registry,
    /// Header lines, as the registry sent them.
    on_ping: Vec<String>,
    /// The same with a placeholder for the repository's name.
    on_pull: Vec<String>,
    /// Seconds since 1970.
    at: Option<u64>,
}

/// All that is in the file; nothing where there is none.
pub(super) fn read(path: &Path) -> Vec<(Registry, Said)> {
    let small = path.metadata().is_ok_and(|file| file.len() <= MOST);
    let text = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let lines: Vec<Line> = serde_json::from_slice(&text).unwrap_or_default();
    lines.into_iter().map(|line| (line.registry.clone(), line.into_said())).collect()
}

/// Puts these in the place of what was there.
pub(super) fn write(path: &Path, all: &[(Registry, Said)]) -> io::Result<()> {
    let lines: Vec<Line> = all.iter().map(|(registry, said)| Line::of(registry, said)).collect();
    private_file::write(path, &serde_json::to_vec_pretty(&lines)?)
}

impl Line {
    fn of(registry: &Registry, said: &Said) -> Self {
        let text = |all: &[Challenge]| all.iter().map(Challenge::to_string).collect();
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
        Self {
            registry: registry.clone(),
            on_ping: text(&said.on_ping),
            on_pull: text(&said.on_pull),
            at: said.at.and_then(since_1970),
        }
    }

    fn into_said(self) -> Said {
        let read = |lines: Vec<String>| {
            lines.iter().filter_map(|line| Challenge::parse_all(line).ok()).flatten().collect()
        };
        let at = self.at.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Said { on_ping: read(self.on_ping), on_pull: read(self.on_pull), at }
    }
}
