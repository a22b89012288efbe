//! `SIGHUP`: loads the settings again, and applies them if they are valid.
//!
//! Settings that are not valid change nothing. Must never end the program: a terminal that closes sends the
//! same signal.

use std::fmt::Display;
use std::sync::Arc;
use tokio::signal::unix::Signal;

/// Loads at each signal, on a thread where reading files blocks no other task, and passes the result to
/// `apply`. Never ends.
pub async fn reload_on_signal<T, E>(
    mut signal: Signal,
    load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    mut apply: impl FnMut(T),
) where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    let load = Arc::new(load);
    while signal.recv().await.is_some() {
        let load = Arc::clone(&load);
        if let Some(loaded) = load_or_log(move || load()).await {
            apply(loaded);
        }
    }
}

/// Loads on a thread where reading files blocks no other task. If it fails, the log says why.
pub async fn load_or_log<T, E>(load: impl FnOnce() -> Result<T, E> + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    match tokio::task::spawn_blocking(load).await {
        Ok(Ok(loaded)) => return Some(loaded),
        Ok(Err(error)) => tracing::error!(%error, "reload failed, so the settings are unchanged"),
        Err(error) => tracing::error!(%error, "reload failed, so the settings are unchanged"),
    }
    None
}

/// Warns of a changed setting that cannot be applied while the program runs.
pub fn warn_if_changed<T: PartialEq>(setting: &str, old: &T, new: &T) {
    if old != new {
        tracing::warn!(setting, "this setting takes effect at the next start");
    }
}
