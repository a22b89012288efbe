//! What was learned about the legs to one server on one network: plain values that outlive the process.
//!
//! Times are relative to the moment of the knowledge: no clock is kept over a restart.

use super::Leg;
use super::rest::RestCause;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is known about the legs to one server on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// The leg that was in use last: it is dialed first.
    #[serde(with = "leg_name")]
    pub preferred: Leg,
    /// About QUIC.
    #[serde(default)]
    pub quic: LegKnowledge,
    /// About TCP.
    #[serde(default)]
    pub tcp: LegKnowledge,
}

/// What is known about one leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegKnowledge {
    /// The goodput that it has shown, in bytes per second, and for how long that still counts.
    pub goodput: Option<(u64, Duration)>,
    /// Whether it rests, or has rested and was not tried since.
    pub rest: Option<RestKnowledge>,
    /// The rests since it was last in steady use. They make the next one longer.
    pub rests: u32,
}

/// A rest of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestKnowledge {
    /// How long it still lasts.
    pub left: Duration,
    /// Why the leg rests.
    pub cause: RestCause,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self { preferred: Leg::Quic, quic: LegKnowledge::default(), tcp: LegKnowledge::default() }
    }
}

impl Knowledge {
    /// What was decided: all that changes rarely.
    pub(crate) fn decisions(&self) -> impl PartialEq + use<> {
        let leg = |leg: &LegKnowledge| (leg.rests, leg.rest.map(|rest| rest.cause));
        (self.preferred, leg(&self.quic), leg(&self.tcp))
    }

    /// The same after this time.
    #[must_use]
    pub fn after(self, elapsed: Duration) -> Self {
        let later = |leg: LegKnowledge| LegKnowledge {
            goodput: leg.goodput.and_then(|(rate, valid)| {
                Some((rate, valid.checked_sub(elapsed).filter(|left| !left.is_zero())?))
            }),
            rest: leg.rest.map(|rest| RestKnowledge { left: rest.left.saturating_sub(elapsed), ..rest }),
            ..leg
        };
        Self { quic: later(self.quic), tcp: later(self.tcp), ..self }
    }
}

/// A leg in the file.
mod leg_name {
    use docxy_transport::Leg;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(leg: &Leg, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(leg)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Leg, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_and_its_cause_stays() {
        let second = Duration::from_secs(1);
        let rest = Some(RestKnowledge { left: 10 * second, cause: RestCause::Unreachable });
        let quic = LegKnowledge { goodput: Some((5, 20 * second)), rest, rests: 1 };
        let known = Knowledge { preferred: Leg::Tcp, quic, tcp: LegKnowledge::default() };
        let later = known.after(15 * second);
        assert_eq!((later.preferred, later.quic.goodput), (Leg::Tcp, Some((5, 5 * second))));
        let rest = later.quic.rest.unwrap();
        assert_eq!((rest.left, rest.cause), (Duration::ZERO, RestCause::Unreachable));
        assert_eq!(later.after(5 * second).quic.goodput, None);
    }
}
