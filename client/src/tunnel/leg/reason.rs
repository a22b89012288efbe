//! Why a way is in use, and why another one is dialed beside it: for `/health` and the log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a way is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
pub enum UseReason {
    /// The user's setting names it.
    Set,
    /// It is dialed first, and came up.
    Preferred,
    /// Another one, which is dialed first, did not come up in time.
    FirstUp,
    /// Sessions on another way broke again and again.
    OtherBroke,
    /// Its goodput in a trial was better, or equal, and it comes first.
    BetterGoodput,
    /// It comes up again.
    ReachableAgain,
}

impl fmt::Display for UseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set => "set by the leg setting",
            Self::Preferred => "dialed first",
            Self::FirstUp => "the other leg did not come up in time",
            Self::OtherBroke => "sessions of the other leg broke",
            Self::BetterGoodput => "it carried more in a trial",
            Self::ReachableAgain => "it comes up again",
        })
    }
}

/// Why another way is dialed beside the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialReason {
    /// Goodput is far below what this path has shown.
    BelowKnown,
    /// The path may lose much under load, and this way was never measured on it.
    MayBePoliced,
    /// A long body is under way, and this way was never measured on this path.
    FirstLook,
    /// The rest of a way that comes first is over.
    RestOver,
}

impl fmt::Display for TrialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowKnown => "goodput is far below what the path has shown",
            Self::MayBePoliced => "the path may be policed, and this way was not measured yet",
            Self::FirstLook => "a long transfer, and this way was not measured yet",
            Self::RestOver => "its rest is over",
        })
    }
}
