//! Parses `congestion`: how both ends send.
//!
//! One notation for flag, environment and file. In the file, rates may also be a table.

use super::rates::{RatesError, TextOrTable};
use crate::tunnel::{Congestion, Rates};
use docxy_protocol::congestion::Choice;
use serde::{Deserialize, Deserializer};
use std::marker::PhantomData;
use std::str::FromStr;

/// Why a text is not a congestion setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CongestionError {
    /// No known form.
    #[error("write auto, cubic, or rates as in down=95Mbit/s,up=20Mbit/s (either may be left out)")]
    Form,
    /// The rates are not valid.
    #[error(transparent)]
    Rates(RatesError),
}

impl FromStr for Congestion {
    type Err = CongestionError;

    fn from_str(text: &str) -> Result<Self, CongestionError> {
        match text.trim() {
            "auto" => Ok(Self { down: Choice::Auto, up: Choice::Auto }),
            "cubic" => Ok(Self { down: Choice::Cubic, up: Choice::Cubic }),
            rates => match rates.parse() {
                Ok(rates) => Ok(Rates::into(rates)),
                Err(RatesError::Form) => Err(CongestionError::Form),
                Err(error) => Err(CongestionError::Rates(error)),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Congestion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable {
            expected: "\"auto\", \"cubic\", or rates as in { down = \"95 Mbit/s\", up = \"20 Mbit/s\" } for congestion",
            name: "congestion",
            value: PhantomData,
        })
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
        let form = "write auto, cubic, or rates as in down=95Mbit/s,up=20Mbit/s";
        for (text, words) in [
            ("", form),
            ("fast", form),
            ("bbr", form),
            ("95 Mbit/s", form),
            ("down:95Mbit/s", form),
            ("down=95Mbit/s,", form),
            ("sideways=95Mbit/s", form),
            ("down=95", "down: \"95\" is no rate: write it as \"95 Mbit/s\""),
            ("up=0Mbit/s", "up: a rate has to be between 24 kbit/s and 100 Gbit/s"),
            ("down=1Mbit/s,down=2Mbit/s", "down= is there twice"),
        ] {
            let error = text.parse::<Congestion>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            let error = from_toml(&format!("{text:?}")).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (toml, words) in [
            ("{ down = '95' }", "down: \"95\" is no rate: write it as \"95 Mbit/s\""),
            ("{ down = 95 }", "expected a rate in quotes"),
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
        let file = docxy_host::files::toml_file::parse::<File>(&format!("\ncongestion = {value}"));
        file.map(|file| file.congestion).map_err(|error| error.to_string())
    }
}
