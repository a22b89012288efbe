//! `SIGHUP`: reads the settings and the links again and applies what can change while the client runs.
//!
//! A file that is wrong changes nothing at all. Must never end the client: a terminal that goes away
//! sends the same signal.

use crate::frontend::Hosts;
use crate::gateway::Gateway;
use crate::settings::{Flags, Settings, SettingsError};
use crate::tunnel::Tunnel;
use docxy_host::logging::LogHandle;
use tokio::signal::unix::Signal;

/// What the settings are applied to.
#[derive(Debug)]
pub(crate) struct Reload {
    /// What the command line says, which does not change.
    pub(crate) flags: Flags,
    pub(crate) log: LogHandle,
    pub(crate) hosts: Hosts,
    pub(crate) gateway: Gateway,
    pub(crate) tunnel: Tunnel,
}

/// Why the settings stay as they were.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("it was broken off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Reload {
    /// Applies new settings at each signal, for ever. `settings` are those that the client was started
    /// with.
    pub(crate) async fn run(self, mut signal: Signal, mut settings: Settings) {
        while signal.recv().await.is_some() {
            match self.load().await {
                Ok(new) => {
                    self.apply(&settings, &new);
                    settings = new;
                }
                Err(error) => tracing::error!(%error, "the settings stay as they were"),
            }
        }
    }

    async fn load(&self) -> Result<Settings, ReloadError> {
        let flags = self.flags.clone();
        Ok(tokio::task::spawn_blocking(move || Settings::load(&flags)).await??)
    }

    fn apply(&self, old: &Settings, new: &Settings) {
        self.log.set_filter(&new.log);
        self.hosts.set(new.hosts.clone());
        self.gateway.set_patience(new.patience);
        let tunnel_changed = self.tunnel.set(new.tunnel.clone());
        tracing::info!(
            servers = new.tunnel.links.len(),
            tunnel_changed,
            hosts = new.hosts.len(),
            patience_s = new.patience.as_secs(),
            log = %new.log,
            "the settings were read again"
        );
        if old.listen != new.listen {
            tracing::warn!(setting = "listen", "this setting takes effect at the next start");
        }
        if old.cache != new.cache {
            tracing::warn!(setting = "cache", "this setting takes effect at the next start");
        }
    }
}
