//! The choice of a congestion control algorithm, and what a later connection can reuse of a measured path.

use super::Rate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The congestion control algorithm of a sender. The client sends it in its Hello, for the server's
/// direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// Follows the measured delivery rate: [`super::Auto`].
    #[default]
    Auto,
    /// Sends at the rate that the user states for the link: [`super::Fixed`].
    Fixed(Rate),
    /// CUBIC (RFC 9438), as QUIC stacks implement it: reduces the window at each loss.
    Cubic,
}

impl Choice {
    /// The rate that a user states, if one does.
    #[must_use]
    pub const fn stated_rate(self) -> Option<Rate> {
        match self {
            Self::Fixed(rate) => Some(rate),
            Self::Auto | Self::Cubic => None,
        }
    }

    /// The same choice, with a fixed rate of at most `limit`.
    #[must_use]
    pub fn capped(self, limit: Option<Rate>) -> Self {
        match (self, limit) {
            (Self::Fixed(rate), Some(limit)) => Self::Fixed(rate.min(limit)),
            _ => self,
        }
    }
}

/// What a sender stores about a path, so that a later connection starts from it.
///
/// These are the "saved parameters" of careful resume (draft-ietf-tsvwg-careful-resume).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMemory {
    /// Delivery rate of the path.
    pub rate: Rate,
    /// RTT of the path without queues.
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
