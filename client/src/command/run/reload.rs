//! Applies settings that were loaded again, as far as they can change while the client runs: all at `SIGHUP`, and the
//! links whenever their file has changed.
//!
//! Must never give up a link because the file is unreadable for a moment.

use crate::frontend::{AllowedHosts, AllowedNetworks};
use crate::gateway::Gateway;
use crate::images::warm::WarmSettings;
use crate::settings::{Flags, LinksError, Settings, read_links_in_use};
use crate::tunnel::{JoinedLink, Tunnel, TunnelConfig};
use docxy_host::files::file_fingerprint::{Fingerprint, POLL_INTERVAL};
use docxy_host::logging::LogHandle;
use docxy_host::process::signals::reload::{load_or_log, warn_if_changed};
use std::path::PathBuf;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

/// Where the settings are applied.
#[derive(Debug)]
pub(super) struct Reload {
    /// The last ones.
    pub(super) settings: Settings,
    pub(super) log: LogHandle,
    pub(super) hosts: AllowedHosts,
    pub(super) networks: AllowedNetworks,
    pub(super) gateway: Gateway,
    pub(super) tunnel: Tunnel,
    pub(super) warm: watch::Sender<Option<WarmSettings>>,
}

impl Reload {
    /// Loads and applies them. Never ends.
    pub(super) async fn run(mut self, mut signal: Signal, flags: Flags) {
        let mut last = LinksRead::default();
        loop {
            let file = self.settings.link_file.clone();
            tokio::select! {
                Some(()) = signal.recv() => {
                    let flags = flags.clone();
                    if let Some(new) = load_or_log(move || Settings::reload(&flags)).await {
                        self.apply(new);
                    }
                }
                found = last.changed(file.clone()) => {
                    if let Some(links) = last.read(file, found).await && links != self.settings.tunnel.links {
                        self.apply_links(links);
                    }
                }
            }
        }
    }

    fn apply(&mut self, new: Settings) {
        self.log.set_filter(&new.log);
        *self.hosts.write() = new.hosts.clone();
        *self.networks.write() = new.networks.clone();
        self.gateway.set_stall_timeout(new.stall_timeout);
        self.warm.send_replace(new.warm.clone());
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
        let sharing = |settings: &Settings| (settings.share, settings.neighbours.clone());
        warn_if_changed("share", &sharing(&self.settings), &sharing(&new));
        warn_if_changed("cache", &self.settings.cache, &new.cache);
        warn_if_changed("cache_size", &self.settings.blobs, &new.blobs);
        self.settings = new;
    }

    fn apply_links(&mut self, links: Vec<JoinedLink>) {
        tracing::info!(servers = links.len(), "the links have changed");
        self.settings.tunnel = TunnelConfig { links, ..self.settings.tunnel.clone() };
        self.tunnel.set(self.settings.tunnel.clone());
    }
}

/// What was last read of the file with the links. At first nothing, so that a change since the start is noticed.
#[derive(Debug, Default)]
struct LinksRead {
    file: Option<Fingerprint>,
    /// Logged once, and not twice a second.
    error: Option<String>,
}

impl LinksRead {
    /// Resolves when there is another file. A pipe can be read only once, and is not watched.
    async fn changed(&self, path: Option<PathBuf>) -> Option<Fingerprint> {
        let Some(path) = path else { return std::future::pending().await };
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let metadata = tokio::fs::metadata(&path).await;
            if metadata.as_ref().is_ok_and(|about| about.is_file()) {
                let found = Fingerprint::of(metadata);
                if found != self.file {
                    return found;
                }
            }
        }
    }

    /// The links in the file, which was this one before it is read. A file that is wrong is read again at the next poll:
    /// another program may be writing it.
    async fn read(&mut self, path: Option<PathBuf>, found: Option<Fingerprint>) -> Option<Vec<JoinedLink>> {
        let path = path?;
        match tokio::task::spawn_blocking(move || read_links_in_use(&path)).await {
            Ok(Ok(links)) => {
                self.file = found;
                if self.error.take().is_some() {
                    tracing::info!("the links can be read again");
                }
                return Some(links);
            }
            Ok(Err(error)) => self.log(&error),
            Err(_) => {}
        }
        None
    }

    fn log(&mut self, error: &LinksError) {
        let error = Some(error.to_string());
        if error != self.error {
            tracing::error!(error, "the links cannot be read, so they are unchanged");
            self.error = error;
        }
    }
}
