//! The file with the challenges of all registries.
//!
//! Reads and writes only. Invalid entries count as absent.

use docxy_host::files::private_file;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::name::Registry;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum number of bytes that are read: 256 registries with the longest challenges.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// A registry's challenges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ChallengeSet {
    /// For `/v2/`; empty if unknown.
    pub(super) on_ping: Vec<Challenge>,
    /// For the content of a repository, with a placeholder for its name; empty if unknown.
    pub(super) on_pull: Vec<Challenge>,
    /// When the ping was answered.
    pub(super) at: Option<SystemTime>,
}

impl ChallengeSet {
    /// Whether no challenge is known: the registry needs no token.
    pub(super) const fn is_empty(&self) -> bool {
        self.on_ping.is_empty() && self.on_pull.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct StoredChallenges {
    registry: Registry,
    /// Header lines as the registry sent them.
    on_ping: Vec<String>,
    /// The same with a placeholder for the repository's name.
    on_pull: Vec<String>,
    /// Seconds since 1970.
    at: Option<u64>,
}

/// All entries; none without a file.
pub(super) fn read(path: &Path) -> Vec<(Registry, ChallengeSet)> {
    let small = path.metadata().is_ok_and(|file| file.len() <= FILE_BYTES_MAX);
    let text = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let entries: Vec<StoredChallenges> = serde_json::from_slice(&text).unwrap_or_default();
    entries.into_iter().map(|entry| (entry.registry.clone(), entry.into_set())).collect()
}

/// Replaces the file.
pub(super) fn write(path: &Path, all: &[(Registry, ChallengeSet)]) -> io::Result<()> {
    let entries: Vec<StoredChallenges> =
        all.iter().map(|(registry, set)| StoredChallenges::of(registry, set)).collect();
    private_file::write_with_directory(path, &serde_json::to_vec_pretty(&entries)?).map_err(io::Error::other)
}

impl StoredChallenges {
    fn of(registry: &Registry, set: &ChallengeSet) -> Self {
        let text = |all: &[Challenge]| all.iter().map(Challenge::to_string).collect();
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
        Self {
            registry: registry.clone(),
            on_ping: text(&set.on_ping),
            on_pull: text(&set.on_pull),
            at: set.at.and_then(since_1970),
        }
    }

    fn into_set(self) -> ChallengeSet {
        let read = |lines: Vec<String>| lines.iter().flat_map(Challenge::parse_all).collect();
        let at = self.at.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        ChallengeSet { on_ping: read(self.on_ping), on_pull: read(self.on_pull), at }
    }
}
