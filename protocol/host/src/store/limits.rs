//! The limits of a store, which its owner chooses.

use super::scope::Scope;
use std::time::Duration;

/// What a store may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of bytes in memory.
    pub memory_bytes: usize,
    /// Maximum number of bytes in files.
    pub disk_bytes: usize,
    /// How long public content stays in memory after its last use.
    pub public_lifetime: Duration,
    /// How long private content stays in memory after it was stored.
    pub private_lifetime: Duration,
}

impl Limits {
    /// How long content of this scope stays in memory.
    pub(super) const fn lifetime(&self, scope: &Scope) -> Duration {
        if scope.is_public() { self.public_lifetime } else { self.private_lifetime }
    }
}
