//! `SIGHUP`: reads the settings again and applies those that can change while the server runs.
//!
//! A wrong file changes nothing. Must never end the server: a terminal that closes sends the same signal.

use super::active_settings::ActiveSettings;
use crate::settings::{Flags, Settings, SettingsError};
use crate::state::ClientWatch;
use crate::upstream::{Changes, UpstreamError};
use docxy_host::logging::LogHandle;
use std::sync::Arc;
use tokio::signal::unix::Signal;

/// Reloads the settings at each signal.
#[derive(Debug)]
pub struct Reload {
    /// `SIGHUP`.
    pub signal: Signal,
    /// The flags and the environment, which do not change.
    pub flags: Flags,
    /// The log, whose filter is one of the settings.
    pub log: LogHandle,
}

/// Why the settings stay unchanged.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the reload task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Reload {
    /// Applies new settings at each signal, without end. `settings` are those of the start.
    pub(crate) async fn run(
        mut self,
        mut settings: Settings,
        active: Arc<ActiveSettings>,
        clients: ClientWatch,
    ) {
        while self.signal.recv().await.is_some() {
            clients.poll_now();
            match self.load(&active).await {
                Ok((new, changes)) => {
                    self.log.set_filter(&new.log);
                    let Changes { added, changed, removed } = changes;
                    tracing::info!(
                        registries = new.registries.len(),
                        added,
                        changed,
                        removed,
                        log = %new.log,
                        "settings reloaded"
                    );
                    warn_of_unapplied(&settings, &new);
                    settings = new;
                }
                Err(error) => tracing::error!(%error, "reload failed, so the settings are unchanged"),
            }
        }
    }

    /// Loads the settings and applies them, except the log filter.
    async fn load(&self, active: &Arc<ActiveSettings>) -> Result<(Settings, Changes), ReloadError> {
        let (flags, active) = (self.flags.clone(), Arc::clone(active));
        let load = move || {
            let settings = Settings::load(&flags)?;
            let changes = active.apply(&settings)?;
            Ok((settings, changes))
        };
        tokio::task::spawn_blocking(load).await?
    }
}

/// Warns of changed settings that take effect only at the next start.
fn warn_of_unapplied(old: &Settings, new: &Settings) {
    if old.listen != new.listen {
        tracing::warn!(setting = "listen", "this setting takes effect at the next start");
    }
    if old.state != new.state {
        tracing::warn!(setting = "state", "this setting takes effect at the next start");
    }
}
