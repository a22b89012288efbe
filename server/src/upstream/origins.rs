//! The server's memory of which registry issued which token (see [`docxy_protocol::token_origins`]). All
//! registries share it, because each has to recognise the others' tokens.
//!
//! Must never be written to disk or printed.

use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use docxy_protocol::token_origins::TokenOrigins;
use docxy_protocol::token_response::TokenResponse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(Arc<Mutex<TokenOrigins>>);

impl Origins {
    /// Remembers that this registry's token service issued the tokens in this answer.
    pub(super) fn remember(&self, registry: &Registry, answer: &TokenResponse) {
        self.lock().remember(registry, answer);
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(super) fn admit(&self, request: &Request) -> bool {
        self.lock().admit(request)
    }

    fn lock(&self) -> MutexGuard<'_, TokenOrigins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
