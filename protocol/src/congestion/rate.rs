//! The rate of a link, as users state it and as controllers compute with it.
//!
//! Must never be zero or absurdly large: a sender can send at every rate that parses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A rate in whole bits per second, between [`Rate::MIN`] and [`Rate::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, derive_more::Into, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Rate(u64);

/// Why a value is not a valid rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not a number with a unit.
    #[error(
        "{0:?} is no rate: write it as \"95 Mbit/s\" or \"95 Mbps\" (kbit/s, Mbit/s or Gbit/s: bits, not bytes)"
    )]
    Form(String),
    /// Below [`Rate::MIN`] or above [`Rate::MAX`].
    #[error("a rate has to be between {} and {}", Rate::MIN, Rate::MAX)]
    Bounds,
}

/// Each with the prefixes that mean it.
const UNITS: [(&str, [char; 2], u64); 3] =
    [("Gbit/s", ['G', 'g'], 1_000_000_000), ("Mbit/s", ['M', 'm'], 1_000_000), ("kbit/s", ['k', 'K'], 1_000)];

/// Ways to write bits per second. A `B` would be bytes.
const BITS_PER_SECOND: [&str; 3] = ["bit/s", "bps", "b/s"];

impl Rate {
    /// The lowest valid rate: two full packets per second.
    pub const MIN: Self = Self(24_000);

    /// The highest valid rate: more than one QUIC connection can carry.
    pub const MAX: Self = Self(100_000_000_000);

    /// A rate of `bits` bits per second.
    ///
    /// # Errors
    /// Where it is out of bounds.
    pub fn from_bits_per_second(bits: u64) -> Result<Self, RateError> {
        let rate = Self(bits);
        if (Self::MIN..=Self::MAX).contains(&rate) { Ok(rate) } else { Err(RateError::Bounds) }
    }

    /// A measured rate, clamped to the valid range.
    #[must_use]
    pub fn measured(bytes_per_second: f64) -> Self {
        // The cast saturates, and turns NaN into 0.
        Self((bytes_per_second * 8.0) as u64).clamp(Self::MIN, Self::MAX)
    }

    /// In bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// In bytes per second.
    #[must_use]
    pub fn bytes_per_second(self) -> f64 {
        self.0 as f64 / 8.0
    }
}

impl TryFrom<u64> for Rate {
    type Error = RateError;

    fn try_from(bits: u64) -> Result<Self, RateError> {
        Self::from_bits_per_second(bits)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let form_error = || RateError::Form(text.to_owned());
        let prefixed = BITS_PER_SECOND.iter().find_map(|bits| text.trim().strip_suffix(bits));
        let prefixed = prefixed.ok_or_else(form_error)?;
        let unit =
            |(_, prefix, factor): &(&str, [char; 2], u64)| Some((prefixed.strip_suffix(*prefix)?, *factor));
        let (number, factor) = UNITS.iter().find_map(unit).ok_or_else(form_error)?;
        let number: f64 = number.trim().parse().map_err(|_| form_error())?;
        if !number.is_finite() {
            return Err(form_error());
        }
        Self::from_bits_per_second((number * factor as f64).round() as u64)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, _, factor) = UNITS.into_iter().find(|(.., factor)| self.0 >= *factor).unwrap_or(UNITS[2]);
        write!(f, "{} {unit}", self.0 as f64 / factor as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_rates() {
        for (text, bits, printed) in [
            ("95 Mbit/s", 95_000_000, "95 Mbit/s"),
            ("1.5Gbit/s", 1_500_000_000, "1.5 Gbit/s"),
            ("64 kbit/s", 64_000, "64 kbit/s"),
            ("0.5 Mbit/s", 500_000, "500 kbit/s"),
            ("95 Mbps", 95_000_000, "95 Mbit/s"),
            ("95mbps", 95_000_000, "95 Mbit/s"),
            ("2 Gb/s", 2_000_000_000, "2 Gbit/s"),
            ("64 Kbit/s", 64_000, "64 kbit/s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.bits_per_second(), bits, "{text}");
            assert_eq!(rate.to_string(), printed);
            assert_eq!(printed.parse(), Ok(rate));
        }
    }

    #[test]
    fn rejects_malformed_and_out_of_range_rates() {
        for text in [
            "",
            "95",
            "95 MB/s",
            "95 MBps",
            "95 bit/s",
            "bps",
            "95 ébps",
            "fast Mbit/s",
            "NaN Mbit/s",
            "inf Gbit/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Form(text.to_owned())), "{text}");
        }
        for text in ["0 Mbit/s", "-5 Mbit/s", "1 kbit/s", "101 Gbit/s", "1e30 Gbit/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Bounds), "{text}");
        }
        assert!(Rate::try_from(0).is_err());
    }

    #[test]
    fn clamps_measured_rates() {
        for (bytes, bits) in
            [(0.0, 24_000), (f64::NAN, 24_000), (1e6, 8_000_000), (f64::MAX, 100_000_000_000)]
        {
            assert_eq!(Rate::measured(bytes).bits_per_second(), bits);
        }
    }
}
