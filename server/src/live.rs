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
