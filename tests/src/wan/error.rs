//! The errors of the emulator. Must never name anything but what failed and why.

use std::io;

/// Why a link could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("the link emulator creates network namespaces and TUN devices: run it as root")]
    NotRoot,
    /// The namespace does not exist, or may not be entered.
    #[error("cannot enter the network namespace {namespace}: {source} (root is needed)")]
    Enter {
        /// Its name.
        namespace: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The device could not be created or used.
    #[error("no TUN device in the network namespace {namespace}: {source}")]
    Device {
        /// The namespace's name.
        namespace: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// iproute2 failed.
    #[error("{0:#}")]
    Ip(anyhow::Error),
    /// There is no thread or no descriptor for the I/O loop.
    #[error("cannot start the emulator: {0}")]
    Start(io::Error),
}
