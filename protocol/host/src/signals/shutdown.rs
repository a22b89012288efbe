//! The end of a program in two steps: the first signal drains, the second one aborts.
//!
//! Only carries the signals: the program decides what the steps mean. Must never depend on the log: it
//! cancels first and logs afterwards.

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
    pub fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let Self { drain, abort } = shutdown.clone();
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            drain.cancel();
            tracing::info!("shutting down; a second signal ends the program immediately");
            either(&mut terminate, &mut interrupt).await;
            abort.cancel();
            tracing::info!("shutting down now");
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
