//! File descriptors of the process.
//!
//! Must never lower a limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows the process as many file descriptors as the system lets it have. The usual limit of 1024 is for programs that
/// use `select`, and peers that only connect would use it up.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of file descriptors stays");
    }
}

/// The descriptors that are open. `None` if the system does not tell.
#[must_use]
pub fn open() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
