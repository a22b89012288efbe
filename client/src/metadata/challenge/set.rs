//! The challenges of one registry.

use docxy_protocol::challenge::Challenge;
use std::time::SystemTime;

/// A registry's challenges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ChallengeSet {
    /// For `/v2/`; empty if unknown.
    pub(super) on_ping: Vec<Challenge>,
    /// For the content of a repository, with a placeholder for its name; empty if unknown.
    pub(super) on_pull: Vec<Challenge>,
    /// When the ping was answered.
    pub(super) at: Option<SystemTime>,
}

impl ChallengeSet {
    /// Whether no challenge is known: the registry needs no token.
    pub(super) const fn is_empty(&self) -> bool {
        self.on_ping.is_empty() && self.on_pull.is_empty()
    }
}
