//! How engines get to the registry.
//! Must never be mixed within a table: what is compared is printed by two runs.

use std::fmt::{self, Display};

/// One route or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The client is their mirror.
    Tunnel,
    /// Without Docxy.
    Direct,
}

impl Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tunnel => "through the tunnel",
            Self::Direct => "straight to the registry",
        })
    }
}
