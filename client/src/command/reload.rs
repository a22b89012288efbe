//! `SIGHUP`: reads the settings and the links again, and applies those that can change while the client runs.
//!
//! A file that is not valid changes nothing. Must never end the client: a closed terminal sends the same
//! signal.

use crate::frontend::AllowedHosts;
use crate::gateway::Gateway;
use crate::settings::{Flags, Settings, SettingsError};
use crate::tunnel::Tunnel;
use docxy_host::logging::LogHandle;
use tokio::signal::unix::Signal;

/// Where the settings are applied.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The command line, which does not change.
    pub(crate) flags: Flags,
    pub(crate) log: LogHandle,
    pub(crate) hosts: AllowedHosts,
    pub(crate) gateway: Gateway,
    pub(crate) tunnel: Tunnel,
}

/// Why the settings are unchanged.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("it was interrupted: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Reload {
    /// Applies new settings at each signal. Never ends. `settings` are those of the start.
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
        self.gateway.set_stall_timeout(new.stall_timeout);
        let tunnel_changed = self.tunnel.set(new.tunnel.clone());
        tracing::info!(
            servers = new.tunnel.links.len(),
            tunnel_changed,
            hosts = new.hosts.len(),
            patience_s = new.stall_timeout.as_secs(),
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
