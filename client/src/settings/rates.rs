//! Parses the rates of both directions: text for flag and environment, text or a table in the file.
//!
//! Must never accept a direction twice: one of the two rates would be ignored.

use crate::tunnel::Rates;
use docxy_protocol::congestion::{Rate, RateError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// Why a text is not the rates of both directions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// No known form.
    #[error("rates are written as in down=95Mbit/s,up=20Mbit/s (either may be left out)")]
    Form,
    /// A direction has two rates.
    #[error("{0}= is there twice")]
    Twice(&'static str),
    /// A rate is not valid.
    #[error("{0}: {1}")]
    Rate(&'static str, #[source] RateError),
}

impl FromStr for Rates {
    type Err = RatesError;

    fn from_str(text: &str) -> Result<Self, RatesError> {
        let mut rates = RatesText::default();
        for part in text.split(',') {
            let (direction, rate) = part.split_once('=').ok_or(RatesError::Form)?;
            let (direction, slot) = match direction.trim() {
                "down" => ("down", &mut rates.down),
                "up" => ("up", &mut rates.up),
                _ => return Err(RatesError::Form),
            };
            if slot.replace(RateText(rate.trim().to_owned())).is_some() {
                return Err(RatesError::Twice(direction));
            }
        }
        rates.try_into()
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable {
            expected: "rates as in { down = \"50 Mbit/s\", up = \"5 Mbit/s\" } for max_rate",
            name: "max_rate",
            value: PhantomData,
        })
    }
}

/// Reads a setting from a text or from a table of rates.
pub(super) struct TextOrTable<T> {
    /// What the file may have.
    pub(super) expected: &'static str,
    /// The setting's name, for errors.
    pub(super) name: &'static str,
    pub(super) value: PhantomData<T>,
}

impl<'de, T: FromStr<Err: fmt::Display> + From<Rates>> Visitor<'de> for TextOrTable<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error| E::custom(format!("{}: {error}", self.name)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let rates = RatesText::deserialize(MapAccessDeserializer::new(map))?;
        let rates = Rates::try_from(rates);
        rates.map(T::from).map_err(|error| A::Error::custom(format!("{}: {error}", self.name)))
    }
}

/// Rates as text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RatesText {
    down: Option<RateText>,
    up: Option<RateText>,
}

/// A rate as text. A number has no unit.
#[derive(Debug)]
struct RateText(String);

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = RateText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate in quotes, as in down = \"50 Mbit/s\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RateText, E> {
                Ok(RateText(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl TryFrom<RatesText> for Rates {
    type Error = RatesError;

    fn try_from(text: RatesText) -> Result<Self, RatesError> {
        let parse = |direction, rate: Option<RateText>| {
            let rate = rate.map(|RateText(text)| text.parse::<Rate>()).transpose();
            rate.map_err(|error| RatesError::Rate(direction, error))
        };
        Ok(Self { down: parse("down", text.down)?, up: parse("up", text.up)? })
    }
}
