//! How long the sender of a request waits for the head of the response.
//!
//! It is a duration, because client and server have different clocks. A peer can shorten it, but never exceed the
//! maximum of this build.

use crate::limits::{PATIENCE_MAX, UPSTREAM_HEADER_TIMEOUT};
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// A number of milliseconds, at most [`PATIENCE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Patience(u32);

impl Patience {
    /// This long, or the maximum.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        let milliseconds = duration.min(PATIENCE_MAX).as_millis();
        Self(u32::try_from(milliseconds).unwrap_or(u32::MAX))
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

/// Of a request that no engine waits for.
impl Default for Patience {
    fn default() -> Self {
        Self::new(UPSTREAM_HEADER_TIMEOUT)
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(Duration::from_millis(u32::deserialize(deserializer)?.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_cannot_be_exceeded() {
        assert_eq!(Patience::new(Duration::MAX).duration(), PATIENCE_MAX);
        assert_eq!(Patience::new(Duration::from_millis(1234)).duration(), Duration::from_millis(1234));
        let decoded: Patience = serde_json::from_str("4000000000").unwrap();
        assert_eq!(decoded.duration(), PATIENCE_MAX);
    }
}
