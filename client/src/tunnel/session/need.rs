//! What a request needs of a session.

use crate::tunnel::config::Trust;
use docxy_protocol::request::{Method, Operation, Request};

/// What a request needs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What its server may see, at least.
    pub(in crate::tunnel) trust: Trust,
    pub(in crate::tunnel) size: Size,
}

/// How much comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tunnel) enum Size {
    /// A round trip decides how long it takes.
    Small,
    /// Perhaps a large body: the rate decides.
    Body,
}

impl Need {
    /// Any session.
    pub const ANY: Self = Self { trust: Trust::Untrusted, size: Size::Small };

    /// What this request needs.
    #[must_use]
    pub const fn of(request: &Request) -> Self {
        let trust = if request.has_credential() { Trust::Trusted } else { Trust::Untrusted };
        let size = match request.operation {
            Operation::Blob { method: Method::Get, .. } => Size::Body,
            _ => Size::Small,
        };
        Self { trust, size }
    }
}
