//! How engines get to the registry.
//! Must never be mixed within a table: what is compared is printed by two runs.

use std::fmt::{self, Display};

/// One way or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The client is their mirror.
    Tunnel,
    /// Without Docxy.
    Direct,
}

impl Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tunnel => "through the tunnel",
            Self::Direct => "straight to the registry",
        })
    }
}
