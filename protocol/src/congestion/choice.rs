//! What a user may ask for, and what is known of a path from an earlier connection.

use super::Rate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which congestion control a sender uses. Travels in the client's Hello, for the server's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// Follows what the path is measured to deliver: [`super::Auto`].
    #[default]
    Auto,
    /// The rate that the user knows the link to have: [`super::Fixed`].
    Fixed(Rate),
    /// RFC 9438, as QUIC stacks have it: yields to every loss.
    Cubic,
}

impl Choice {
    /// The same, but no fixed rate above `most`.
    #[must_use]
    pub fn capped(self, limit: Option<Rate>) -> Self {
        match (self, limit) {
            (Self::Fixed(rate), Some(limit)) => Self::Fixed(rate.min(limit)),
            _ => self,
        }
    }
}

/// What a sender remembers of a path, so that a later connection needn't learn it anew.
///
/// "Saved parameters" in the IETF's careful resume (draft-ietf-tsvwg-careful-resume).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMemory {
    /// What the path delivered.
    pub rate: Rate,
    /// Its round trip without queues.
    pub min_rtt: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fixed_rate_is_capped() {
        let rate = |mbit: u64| Rate::from_bits_per_second(mbit * 1_000_000).unwrap();
        assert_eq!(Choice::Fixed(rate(95)).capped(Some(rate(50))), Choice::Fixed(rate(50)));
        assert_eq!(Choice::Fixed(rate(40)).capped(Some(rate(50))), Choice::Fixed(rate(40)));
        assert_eq!(Choice::Fixed(rate(95)).capped(None), Choice::Fixed(rate(95)));
        assert_eq!(Choice::Auto.capped(Some(rate(1))), Choice::Auto);
    }
}
