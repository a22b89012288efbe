//! The signals that a program handles without ending. The program decides what they do.
//!
//! [`Signals::listen`] must be called before anything that takes time: until then, these signals end the
//! process.

pub mod reload;
pub mod shutdown;

use rustix::process::{Pid, Signal as SignalNumber, kill_process};
use shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// `SIGXFSZ` on Linux: a write has reached a file-size limit (`ulimit -f`, systemd's `LimitFSIZE=`). The write
/// then returns an error, as on a full disk; without a handler the signal would end the process.
const FILE_SIZE_LIMIT: SignalKind = SignalKind::from_raw(25);

/// Sends `SIGHUP` to a process, which reads its settings again.
///
/// # Errors
/// If there is no such process, or it is of another user.
pub fn hang_up(process: u32) -> std::io::Result<()> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    Ok(kill_process(process.ok_or(std::io::ErrorKind::InvalidInput)?, SignalNumber::HUP)?)
}

/// The handled signals. They no longer end the process, even if the program does not wait for them.
#[derive(Debug)]
pub struct Signals {
    /// `SIGHUP`: reload the settings. A terminal that is closed also sends it.
    pub reload: Signal,
    /// `SIGUSR1`: log the current activity.
    pub report: Signal,
    /// `SIGTERM` and `SIGINT`.
    pub shutdown: Shutdown,
}

impl Signals {
    /// Installs the handlers; `SIGUSR2` and `SIGXFSZ` do nothing. Needs a Tokio runtime.
    ///
    /// # Errors
    /// If the system does not allow handlers.
    pub fn listen() -> std::io::Result<Self> {
        // The handler stays until the process ends, even without a listener.
        drop(signal(SignalKind::user_defined2())?);
        drop(signal(FILE_SIZE_LIMIT)?);
        let (reload, report) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        Ok(Self { reload, report, shutdown: Shutdown::on_signals()? })
    }
}
