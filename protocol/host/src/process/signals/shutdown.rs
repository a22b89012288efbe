//! The end of a program in two steps: the first signal drains, the second one aborts.
//!
//! Only carries the signals: the program decides what the steps mean. Must never depend on the log: it
//! cancels first and logs afterwards.

use crate::platform::signals::is_ignored;
use futures_util::future::select_all;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps. Each happens at most once.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled by the first signal: start nothing new, and let running transfers finish.
    pub drain: CancellationToken,
    /// Cancelled by the second: end at once.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown by `SIGTERM` and `SIGINT`. Needs a running runtime.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub fn on_signals() -> io::Result<Self> {
        Self::on(&[SignalKind::terminate(), SignalKind::interrupt()])
    }

    /// The same for a command that a user waits for: also by `SIGHUP`, which a terminal sends that closes, unless this
    /// process was started with it ignored, as by `nohup`.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub fn of_command() -> io::Result<Self> {
        let all = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Self::on(if is_ignored(SignalKind::hangup()) { &all[..2] } else { &all })
    }

    fn on(kinds: &[SignalKind]) -> io::Result<Self> {
        let mut signals = kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<Vec<_>>>()?;
        let shutdown = Self::default();
        let Self { drain, abort } = shutdown.clone();
        tokio::spawn(async move {
            any(&mut signals).await;
            drain.cancel();
            tracing::info!("shutting down; a second signal ends the program immediately");
            any(&mut signals).await;
            abort.cancel();
            tracing::info!("shutting down now");
        });
        Ok(shutdown)
    }
}

async fn any(signals: &mut [Signal]) {
    select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
}
