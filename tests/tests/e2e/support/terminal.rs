//! A terminal for a program under test.
//! Must never be a test's own terminal.

use std::{
    fs::{File, OpenOptions},
    os::fd::OwnedFd,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal: its screen, and the device that a program reads and writes.
pub(crate) fn terminal() -> (OwnedFd, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    (screen, OpenOptions::new().read(true).write(true).open(name).unwrap())
}
