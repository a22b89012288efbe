//! The record of which registry issued which token (see [`docxy_protocol::token_origins`]). All
//! registries share it, because each has to recognise the others' tokens.
//!
//! Must never be written to disk or printed.

use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use docxy_protocol::token_origins::TokenOrigins;
use docxy_protocol::token_response::TokenResponse;
use parking_lot::Mutex;
use std::sync::Arc;

/// The record. Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::upstream) struct SharedTokenOrigins(Arc<Mutex<TokenOrigins>>);

impl SharedTokenOrigins {
    /// Records that this registry's token service issued the tokens in this response.
    pub(in crate::upstream) fn record(&self, registry: &Registry, response: &TokenResponse) {
        self.0.lock().remember(registry, response);
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(in crate::upstream) fn may_send(&self, request: &Request) -> bool {
        self.0.lock().may_send(request)
    }
}
