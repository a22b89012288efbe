//! What was learned about the ways to one server on one network: plain values that outlive the process.
//!
//! Times are relative to the moment of the knowledge: no clock is kept over a restart.

use super::Way;
use super::rest::RestCause;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is known about the ways to one server on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// The way that was in use last: it is dialed first.
    #[serde(with = "way_name")]
    pub preferred: Way,
    /// About QUIC.
    #[serde(default)]
    pub quic: WayKnowledge,
    /// About TCP.
    #[serde(default)]
    pub tcp: WayKnowledge,
    /// About the proxy that the environment names.
    #[serde(default)]
    pub proxy: WayKnowledge,
}

/// What is known about one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayKnowledge {
    /// The goodput that it has shown, in bytes per second, and for how long that still counts.
    pub goodput: Option<(u64, Duration)>,
    /// Whether it rests, or has rested and was not tried since.
    pub rest: Option<RestKnowledge>,
    /// The rests since it was last in steady use. They make the next one longer.
    pub rests: u32,
}

/// A rest of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestKnowledge {
    /// How long it still lasts.
    pub left: Duration,
    /// Why the way rests.
    pub cause: RestCause,
}

impl Default for Knowledge {
    fn default() -> Self {
        let [quic, tcp, proxy] = [WayKnowledge::default(); 3];
        Self { preferred: Way::Quic, quic, tcp, proxy }
    }
}

impl Knowledge {
    /// What was decided: all that changes rarely.
    pub(crate) fn decisions(&self) -> impl PartialEq + use<> {
        let of = |way: &WayKnowledge| (way.rests, way.rest.map(|rest| rest.cause));
        (self.preferred, of(&self.quic), of(&self.tcp), of(&self.proxy))
    }

    /// The same after this time.
    #[must_use]
    pub fn after(self, elapsed: Duration) -> Self {
        let later = |way: WayKnowledge| WayKnowledge {
            goodput: way.goodput.and_then(|(rate, valid)| {
                Some((rate, valid.checked_sub(elapsed).filter(|left| !left.is_zero())?))
            }),
            rest: way.rest.map(|rest| RestKnowledge { left: rest.left.saturating_sub(elapsed), ..rest }),
            ..way
        };
        let Self { preferred, quic, tcp, proxy } = self;
        Self { preferred, quic: later(quic), tcp: later(tcp), proxy: later(proxy) }
    }
}

/// A way in the file.
mod way_name {
    use super::Way;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(way: &Way, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(way)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Way, D::Error> {
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
        let quic = WayKnowledge { goodput: Some((5, 20 * second)), rest, rests: 1 };
        let known = Knowledge { preferred: Way::Tcp, quic, ..Knowledge::default() };
        let later = known.after(15 * second);
        assert_eq!((later.preferred, later.quic.goodput), (Way::Tcp, Some((5, 5 * second))));
        let rest = later.quic.rest.unwrap();
        assert_eq!((rest.left, rest.cause), (Duration::ZERO, RestCause::Unreachable));
        assert_eq!(later.after(5 * second).quic.goodput, None);
    }
}
