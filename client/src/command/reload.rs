//! Applies settings that were loaded again (`SIGHUP`), as far as they can change while the client runs.

use crate::frontend::AllowedHosts;
use crate::gateway::Gateway;
use crate::settings::Settings;
use crate::tunnel::Tunnel;
use docxy_host::logging::LogHandle;
use docxy_host::signals::reload::warn_if_changed;

/// Where the settings are applied.
#[derive(Debug)]
pub(super) struct Reload {
    /// The last ones.
    pub(super) settings: Settings,
    pub(super) log: LogHandle,
    pub(super) hosts: AllowedHosts,
    pub(super) gateway: Gateway,
    pub(super) tunnel: Tunnel,
}

impl Reload {
    pub(super) fn apply(&mut self, new: Settings) {
        self.log.set_filter(&new.log);
        *self.hosts.write() = new.hosts.clone();
        self.gateway.set_stall_timeout(new.stall_timeout);
        let tunnel_changed = self.tunnel.set(new.tunnel.clone());
        tracing::info!(
            servers = new.tunnel.links.len(),
            tunnel_changed,
            hosts = new.hosts.len(),
            stall_timeout_s = new.stall_timeout.as_secs(),
            log = %new.log,
            "settings reloaded"
        );
        warn_if_changed("listen", &self.settings.listen, &new.listen);
        warn_if_changed("cache", &self.settings.cache, &new.cache);
        self.settings = new;
    }
}
