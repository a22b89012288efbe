//! The repositories that refuse requests without a credential: their blobs are requested with the engine's at once.
//!
//! Pure: takes the time as an argument. Bounded.

use docxy_host::lru::Lru;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::request::Request;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of remembered repositories. One that is forgotten costs a round trip.
const REPOSITORIES_MAX: usize = 1024;

/// How long a repository is remembered: it may become public.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The repositories. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct PrivateRepositories(Arc<Mutex<Lru<(Registry, Repository), Instant>>>);

impl Default for PrivateRepositories {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Lru::new(REPOSITORIES_MAX))))
    }
}

impl PrivateRepositories {
    /// A request without a credential for the content of this one was refused.
    pub(in crate::gateway) fn record(&self, request: &Request, now: Instant) {
        if let Some(key) = key(request) {
            self.0.lock().insert(key, now + LIFETIME, 1);
        }
    }

    /// Whether this request needs its credential, as far as is known.
    pub(in crate::gateway) fn contains(&self, request: &Request, now: Instant) -> bool {
        key(request).is_some_and(|key| self.0.lock().get(&key).is_some_and(|until| now < *until))
    }
}

fn key(request: &Request) -> Option<(Registry, Repository)> {
    Some((request.registry.clone(), request.operation.repository()?.clone()))
}
