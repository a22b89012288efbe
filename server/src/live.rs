//! What of the settings can change while the server runs, as one value that is swapped whole.
//!
//! Whoever begins something takes the value once and keeps it to the end: what runs goes on by the
//! settings that it began with.

use crate::settings::Settings;
use crate::store::Store;
use crate::upstream::{Changes, Upstream, UpstreamError};
use docxy_protocol::congestion::Rate;
use std::sync::{Arc, PoisonError, RwLock};

/// The settings in use.
#[derive(Debug)]
pub(crate) struct InUse {
    /// The way to the registries.
    pub(crate) upstream: Upstream,
    /// The highest rate that a client may state, for each connection.
    pub(crate) fixed_rate_limit: Rate,
}

/// Where the settings in use are found.
#[derive(Debug)]
pub(crate) struct Live {
    in_use: RwLock<Arc<InUse>>,
    store: Store,
}

impl Live {
    /// Begins with these settings. Needs a running runtime.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used.
    pub(crate) fn start(settings: &Settings, store: Store) -> Result<Arc<Self>, UpstreamError> {
        let upstream = Upstream::new(settings, &store)?;
        upstream.keep_warm();
        let in_use = InUse { upstream, fixed_rate_limit: settings.fixed_rate_limit };
        Ok(Arc::new(Self { in_use: RwLock::new(Arc::new(in_use)), store }))
    }

    /// The settings as they are now.
    pub(crate) fn current(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other settings from now on. Reads files; must not be called twice at a time.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used. Nothing has changed then.
    pub(crate) fn apply(&self, settings: &Settings) -> Result<Changes, UpstreamError> {
        let (upstream, changes) = self.current().upstream.updated(settings, &self.store)?;
        let in_use = InUse { upstream, fixed_rate_limit: settings.fixed_rate_limit };
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_use);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flags, RegistrySettings};
    use rustls::pki_types::CertificateDer;

    fn settings(text: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&Flags { config: Some(path), ..Flags::default() }).unwrap()
    }

    fn changes(added: usize, changed: usize, removed: usize) -> Changes {
        Changes { added, changed, removed }
    }

    #[tokio::test]
    async fn what_has_begun_keeps_its_settings_and_what_begins_has_the_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let old = settings("fixed_rate_limit = '1 Mbit/s'");
        let live = Live::start(&old, Store::open(dir.path().to_owned())).unwrap();
        let begun = live.current();
        let new = settings(
            "fixed_rate_limit = '2 Mbit/s'\n[registries.'ghcr.io']\n[registries.'quay.io']\napi = 'https://quay.io'",
        );
        assert_eq!(live.apply(&new).unwrap(), changes(2, 0, 1));
        assert_eq!(begun.fixed_rate_limit, old.fixed_rate_limit);
        assert_eq!(live.current().fixed_rate_limit, new.fixed_rate_limit);
        assert_eq!(live.apply(&new).unwrap(), changes(0, 0, 0));
        let moved = settings("[registries.'ghcr.io']\n[registries.'quay.io']\napi = 'https://quay.example'");
        assert_eq!(live.apply(&moved).unwrap(), changes(0, 1, 0));
    }

    #[tokio::test]
    async fn settings_that_cannot_be_used_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let live = Live::start(&settings(""), Store::open(dir.path().to_owned())).unwrap();
        let before = live.current();
        let mut wrong = settings("fixed_rate_limit = '2 Mbit/s'\n[registries.'ghcr.io']");
        let ca = vec![CertificateDer::from(vec![1, 2, 3])];
        wrong.registries.push(RegistrySettings { ca, ..RegistrySettings::docker_hub() });
        assert!(live.apply(&wrong).is_err());
        assert!(Arc::ptr_eq(&before, &live.current()));
    }
}
