//! The route of engines to the registry.
//! Must never be mixed within a table: two routes are two runs.

use std::fmt::{self, Display};

/// A route to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the client as a mirror.
    Tunnel,
    /// Without Docxy.
    Direct,
}

impl Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tunnel => "through the tunnel",
            Self::Direct => "directly to the registry",
        })
    }
}
