//! Turns signals into a shutdown: first gracefully, then at once.
//!
//! Each command decides what that means. Must not depend on the log: cancels first, then logs.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps of a shutdown. Each happens once at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Shutdown {
    /// Cancelled by the first signal: start nothing new, finish what runs.
    pub(super) drain: CancellationToken,
    /// Cancelled by the second: end at once.
    pub(super) abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown by `SIGTERM` and `SIGINT`. Needs a running runtime.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub(super) fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let Self { drain, abort } = shutdown.clone();
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            drain.cancel();
            tracing::info!("ending; a second signal ends at once");
            either(&mut terminate, &mut interrupt).await;
            abort.cancel();
            tracing::info!("ending at once");
        });
        Ok(shutdown)
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
