//! The settings that can change while the server runs, as one value that is replaced whole.
//!
//! Each connection and exchange reads the value once at its start. Must never change the settings of one
//! that is running.

use crate::settings::Settings;
use crate::upstream::store::Store;
use crate::upstream::{Changes, LayerCache, SetupError, Upstream};
use docxy_protocol::congestion::Rate;
use parking_lot::RwLock;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The time between two rounds of [`Upstream::keep_alive`]. An idle connection to a registry closes after 50 s, so a
/// round may fail once for a host.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// One version of these settings.
#[derive(Debug)]
pub(crate) struct SettingsVersion {
    /// The registries, with their connections.
    pub(crate) upstream: Upstream,
    /// The highest rate that a client may state, for each connection.
    pub(crate) fixed_rate_limit: Rate,
    /// How fast the server may send to one client.
    pub(crate) client_max_rate: Option<Rate>,
}

impl SettingsVersion {
    const fn new(upstream: Upstream, settings: &Settings) -> Self {
        let Settings { fixed_rate_limit, client_max_rate, .. } = *settings;
        Self { upstream, fixed_rate_limit, client_max_rate }
    }
}

/// The active settings.
#[derive(Debug)]
pub(crate) struct ActiveSettings {
    current: RwLock<Arc<SettingsVersion>>,
    store: Store,
}

impl ActiveSettings {
    /// Activates the first settings. Needs a running runtime.
    ///
    /// # Errors
    /// If a certificate of the settings cannot be used.
    pub(crate) fn start(settings: &Settings, store: Store) -> Result<Arc<Self>, SetupError> {
        let layers = settings.layer_cache.as_ref().and_then(LayerCache::open);
        let upstream = Upstream::new(settings, &store)?.with_layers(layers);
        let version = SettingsVersion::new(upstream, settings);
        let active = Arc::new(Self { current: RwLock::new(Arc::new(version)), store });
        tokio::spawn(keep_alive(Arc::downgrade(&active)));
        Ok(active)
    }

    /// The current version.
    pub(crate) fn current(&self) -> Arc<SettingsVersion> {
        Arc::clone(&self.current.read())
    }

    /// The stored manifests.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Activates other settings. Reads files. Must not be called concurrently.
    ///
    /// # Errors
    /// If a certificate of the settings cannot be used. Then nothing has changed.
    pub(crate) fn apply(&self, settings: &Settings) -> Result<Changes, SetupError> {
        let (upstream, changes) = self.current().upstream.updated(settings, &self.store)?;
        let version = SettingsVersion::new(upstream, settings);
        *self.current.write() = Arc::new(version);
        Ok(changes)
    }
}

/// Keeps the registries in use ready, until the settings are dropped.
async fn keep_alive(active: Weak<ActiveSettings>) {
    loop {
        tokio::time::sleep(KEEP_ALIVE_INTERVAL).await;
        let Some(active) = active.upgrade() else { return };
        active.current().upstream.keep_alive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flags, RegistrySettings};
    use crate::upstream::store;
    use rustls::pki_types::CertificateDer;

    fn settings(text: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&Flags::of_config(path)).unwrap()
    }

    fn changes(added: usize, changed: usize, removed: usize) -> Changes {
        Changes { added, changed, removed }
    }

    #[tokio::test]
    async fn a_running_exchange_keeps_its_settings_and_a_new_one_has_the_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let old = settings("fixed_rate_limit = '1 Mbit/s'\n[registries.'docker.io']");
        let active = ActiveSettings::start(&old, store::open(dir.path().to_owned(), 1024 * 1024)).unwrap();
        let running = active.current();
        let new = settings(
            "fixed_rate_limit = '2 Mbit/s'\n[registries.'ghcr.io']\n[registries.'quay.io']\napi = 'https://quay.io'",
        );
        assert_eq!(active.apply(&new).unwrap(), changes(2, 0, 1));
        assert_eq!(running.fixed_rate_limit, old.fixed_rate_limit);
        assert_eq!(active.current().fixed_rate_limit, new.fixed_rate_limit);
        assert_eq!(active.apply(&new).unwrap(), changes(0, 0, 0));
        let moved = settings("[registries.'ghcr.io']\n[registries.'quay.io']\napi = 'https://quay.example'");
        assert_eq!(active.apply(&moved).unwrap(), changes(0, 1, 0));
    }

    #[tokio::test]
    async fn unusable_settings_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let active =
            ActiveSettings::start(&settings(""), store::open(dir.path().to_owned(), 1024 * 1024)).unwrap();
        let before = active.current();
        let mut wrong = settings("fixed_rate_limit = '2 Mbit/s'\n[registries.'ghcr.io']");
        let ca = vec![CertificateDer::from(vec![1, 2, 3])];
        wrong.registries.push(RegistrySettings { ca, ..RegistrySettings::docker_hub() });
        assert!(active.apply(&wrong).is_err());
        assert!(Arc::ptr_eq(&before, &active.current()));
    }
}
