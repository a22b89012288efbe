//! The names under which engines reach this client, as a setting that can change while it serves.

use std::sync::{Arc, PoisonError, RwLock};

/// The names, beside those of this machine's loopback. All clones are one.
#[derive(Debug, Clone)]
pub struct Hosts(Arc<RwLock<Arc<[String]>>>);

impl Hosts {
    /// These names.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(names.into())))
    }

    /// Has other names from now on.
    pub(crate) fn set(&self, names: Vec<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names.into();
    }

    pub(super) fn current(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
