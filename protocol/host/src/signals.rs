//! The signals that a running program answers without ending. What a signal means is the program's
//! to decide.
//!
//! Must be listened to before anything that takes time: until then the system's defaults hold, and
//! those kill.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of one program. None of them ends it from now on, listened to or not.
#[derive(Debug)]
pub struct Signals {
    /// `SIGHUP`: read the settings again. A terminal that goes away sends it as well.
    pub reload: Signal,
    /// `SIGUSR1`: write to the log what is under way.
    pub report: Signal,
}

impl Signals {
    /// Begins to listen. `SIGUSR2` is ignored from now on. Needs a running runtime.
    ///
    /// # Errors
    /// Where the system does not let us handle the signals.
    pub fn listen() -> std::io::Result<Self> {
        // The handler stays for the life of the process, also when nobody listens any more.
        drop(signal(SignalKind::user_defined2())?);
        Ok(Self { reload: signal(SignalKind::hangup())?, report: signal(SignalKind::user_defined1())? })
    }
}
