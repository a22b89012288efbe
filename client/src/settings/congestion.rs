//! Parses `congestion`: how both ends send.
//!
//! One notation for flag, environment and file. In the file, rates may also be a table.

use crate::tunnel::Congestion;
use docxy_protocol::congestion::{Choice, Rate, RateError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// Why a text is not a congestion setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CongestionError {
    /// No known form.
    #[error("congestion is auto, cubic, or rates as in down=95Mbit/s,up=20Mbit/s (either may be left out)")]
    Form,
    /// A direction has two rates.
    #[error("congestion has {0}= twice")]
    Twice(&'static str),
    /// A rate is not valid.
    #[error("congestion, {0}: {1}")]
    Rate(&'static str, #[source] RateError),
}

impl FromStr for Congestion {
    type Err = CongestionError;

    fn from_str(text: &str) -> Result<Self, CongestionError> {
        match text.trim() {
            "auto" => Ok(Self { down: Choice::Auto, up: Choice::Auto }),
            "cubic" => Ok(Self { down: Choice::Cubic, up: Choice::Cubic }),
            rates => Rates::parse(rates)?.try_into(),
        }
    }
}

impl<'de> Deserialize<'de> for Congestion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Congestion;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"auto\", \"cubic\", or rates as in { down = \"95 Mbit/s\", up = \"20 Mbit/s\" } for congestion",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Congestion, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Congestion, A::Error> {
                let rates = Rates::deserialize(MapAccessDeserializer::new(map))?;
                rates.try_into().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// Rates as text. A direction without a rate is measured.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rates {
    down: Option<String>,
    up: Option<String>,
}

impl Rates {
    fn parse(text: &str) -> Result<Self, CongestionError> {
        let mut rates = Self::default();
        for part in text.split(',') {
            let (direction, rate) = part.split_once('=').ok_or(CongestionError::Form)?;
            let (direction, slot) = match direction.trim() {
                "down" => ("down", &mut rates.down),
                "up" => ("up", &mut rates.up),
                _ => return Err(CongestionError::Form),
            };
            if slot.replace(rate.trim().to_owned()).is_some() {
                return Err(CongestionError::Twice(direction));
            }
        }
        Ok(rates)
    }
}

impl TryFrom<Rates> for Congestion {
    type Error = CongestionError;

    fn try_from(rates: Rates) -> Result<Self, CongestionError> {
        let choice = |direction, rate: Option<String>| {
            let rate = rate.map(|text| text.parse::<Rate>()).transpose();
            let rate = rate.map_err(|error| CongestionError::Rate(direction, error))?;
            Ok(rate.map_or(Choice::Auto, Choice::Fixed))
        };
        Ok(Self { down: choice("down", rates.down)?, up: choice("up", rates.up)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(rate: &str) -> Choice {
        Choice::Fixed(rate.parse().unwrap())
    }

    #[test]
    fn flag_and_file_accept_the_same_forms() {
        for (text, toml, down, up, displayed) in [
            ("auto", "'auto'", Choice::Auto, Choice::Auto, "auto"),
            ("cubic", "'cubic'", Choice::Cubic, Choice::Cubic, "cubic"),
            (
                "down=95Mbit/s,up=20Mbit/s",
                "{ down = '95 Mbit/s', up = '20 Mbit/s' }",
                fixed("95 Mbit/s"),
                fixed("20 Mbit/s"),
                "down=95 Mbit/s,up=20 Mbit/s",
            ),
            (
                "down = 1.5 Gbit/s",
                "{ down = '1.5Gbit/s' }",
                fixed("1500 Mbit/s"),
                Choice::Auto,
                "down=1.5 Gbit/s",
            ),
            ("up=500kbit/s", "'up=500 kbit/s'", Choice::Auto, fixed("0.5 Mbit/s"), "up=500 kbit/s"),
        ] {
            let expected = Congestion { down, up };
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(from_toml(toml).unwrap(), expected, "{toml}");
            assert_eq!(expected.to_string(), displayed);
            assert_eq!(displayed.parse(), Ok(expected));
        }
    }

    #[test]
    fn an_error_says_what_to_write() {
        let form = "congestion is auto, cubic, or rates as in down=95Mbit/s,up=20Mbit/s";
        for (text, words) in [
            ("", form),
            ("fast", form),
            ("bbr", form),
            ("95 Mbit/s", form),
            ("down:95Mbit/s", form),
            ("down=95Mbit/s,", form),
            ("sideways=95Mbit/s", form),
            ("down=95", "congestion, down: \"95\" is no rate: write it as \"95 Mbit/s\""),
            ("up=0Mbit/s", "congestion, up: a rate has to be between 24 kbit/s and 100 Gbit/s"),
            ("down=1Mbit/s,down=2Mbit/s", "congestion has down= twice"),
        ] {
            let error = text.parse::<Congestion>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            let error = from_toml(&format!("{text:?}")).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (toml, words) in [
            ("{ down = '95' }", "congestion, down: \"95\" is no rate: write it as \"95 Mbit/s\""),
            ("{ down = 95 }", "expected a string"),
            ("{ left = '95 Mbit/s' }", "unknown field `left`, expected `down` or `up`"),
            (
                "95",
                "expected \"auto\", \"cubic\", or rates as in { down = \"95 Mbit/s\", up = \"20 Mbit/s\" }",
            ),
        ] {
            let error = from_toml(toml).unwrap_err();
            assert!(error.contains(words), "{toml}: {error}");
            assert!(error.contains("line 2: "), "{toml}: {error}");
        }
    }

    fn from_toml(value: &str) -> Result<Congestion, String> {
        #[derive(Deserialize)]
        struct File {
            congestion: Congestion,
        }
        let file = docxy_host::toml_file::parse::<File>(&format!("\ncongestion = {value}"));
        file.map(|file| file.congestion).map_err(|error| error.to_string())
    }
}
