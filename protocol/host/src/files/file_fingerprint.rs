//! Notices that a file has changed, by polling.
//!
//! Only polling works everywhere: inotify does not report changes through a network file system or a container's mount.
//! Twice a second costs almost nothing.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// How often a file is polled. `revoke` must end connections within 2 s.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Time without work after which a thread for file work ends. The threads take turns in polling, so with the runtime's ten
/// seconds twenty threads of a burst would stay for ever.
pub const FILE_THREAD_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Identifies a version of a file without reading it. A replaced file has another inode, an edited one another time or
/// length. The time is the ctime, so that a file that only became readable counts too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Fingerprint {
    /// That of the file with this metadata; `None` if there is none.
    #[must_use]
    pub fn of(metadata: io::Result<Metadata>) -> Option<Self> {
        let metadata = metadata.ok()?;
        Some(Self {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}
