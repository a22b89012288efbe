//! The host names that engines may use. The setting can change while the client runs.

use parking_lot::RwLock;
use std::sync::Arc;

/// The names beside those of loopback. Clones share them.
#[derive(Debug, Clone)]
pub struct AllowedHosts(Arc<RwLock<Arc<[String]>>>);

impl AllowedHosts {
    /// Allows these names.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(names.into())))
    }

    /// Replaces the names.
    pub(crate) fn set(&self, names: Vec<String>) {
        *self.0.write() = names.into();
    }

    pub(in crate::frontend) fn current(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read())
    }
}
