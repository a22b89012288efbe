//! How the client is told to end: at leisure, then at once.
//!
//! Only carries the word; what ending means is for each command to know. Must not depend on the log: it
//! cancels first and logs afterwards.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps of ending, each of which happens at most once.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled by the first signal: start nothing new, let what runs finish.
    pub drain: CancellationToken,
    /// Cancelled by the second: end at once.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown that `SIGTERM` and `SIGINT` ask for. Needs a running runtime.
    ///
    /// # Errors
    /// Where the system doesn't let us handle the signals.
    pub fn on_signals() -> std::io::Result<Self> {
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
