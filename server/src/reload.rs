//! `SIGHUP`: reads the settings again and applies what can change while the server runs.
//!
//! A file that is wrong changes nothing at all. Must never end the server: a terminal that goes away
//! sends the same signal.

use crate::live::Live;
use crate::settings::{Flags, Settings, SettingsError};
use crate::state::ClientWatch;
use crate::upstream::{Changes, UpstreamError};
use docxy_host::logging::LogHandle;
use std::sync::Arc;
use tokio::signal::unix::Signal;

/// What it takes to read the settings again, and to apply them.
#[derive(Debug)]
pub struct Reload {
    /// `SIGHUP`.
    pub signal: Signal,
    /// What the command line and the environment say, which does not change.
    pub flags: Flags,
    /// The log, whose filter is one of the settings.
    pub log: LogHandle,
}

/// Why the settings stay as they were.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("it was broken off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Reload {
    /// Applies new settings at each signal, for ever. `settings` are those that the server was started
    /// with.
    pub(crate) async fn run(mut self, mut settings: Settings, live: Arc<Live>, clients: ClientWatch) {
        while self.signal.recv().await.is_some() {
            clients.look_now();
            match self.load(&live).await {
                Ok((new, changes)) => {
                    self.log.set_filter(&new.log);
                    let Changes { added, changed, removed } = changes;
                    tracing::info!(
                        registries = new.registries.len(),
                        added,
                        changed,
                        removed,
                        log = %new.log,
                        "the settings were read again"
                    );
                    warn_of_what_stays(&settings, &new);
                    settings = new;
                }
                Err(error) => tracing::error!(%error, "the settings stay as they were"),
            }
        }
    }

    /// Loads the settings and applies all but the log's.
    async fn load(&self, live: &Arc<Live>) -> Result<(Settings, Changes), ReloadError> {
        let (flags, live) = (self.flags.clone(), Arc::clone(live));
        let load = move || {
            let settings = Settings::load(&flags)?;
            let changes = live.apply(&settings)?;
            Ok((settings, changes))
        };
        tokio::task::spawn_blocking(load).await?
    }
}

/// Says which of the settings that differ have no effect before the next start.
fn warn_of_what_stays(old: &Settings, new: &Settings) {
    if old.listen != new.listen {
        tracing::warn!(setting = "listen", "this setting takes effect at the next start");
    }
    if old.state != new.state {
        tracing::warn!(setting = "state", "this setting takes effect at the next start");
    }
}
