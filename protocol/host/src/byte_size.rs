//! A number of bytes as users write it: `20 GB`, `512 MiB`, `0`.
//!
//! Must never take a number without a unit for bytes: `20` was probably meant as gigabytes.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// The units, the largest first. Those of two letters are decimal, as on the label of a disk.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The text is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write a number and a unit, as in 20 GB or 512 MiB, or 0")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let error = || ByteSizeError(text.to_owned());
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self(0));
        }
        let unit_at = trimmed.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
        let (number, unit) = trimmed.split_at(unit_at);
        let known = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit);
        let (_, factor) = UNITS.iter().find(known).ok_or_else(error)?;
        let number = number.trim();
        // No sign, exponent, infinity or NaN.
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(error());
        }
        let bytes = number.parse::<f64>().map_err(|_| error())? * *factor as f64;
        if bytes < u64::MAX as f64 { Ok(Self(bytes.round() as u64)) } else { Err(error()) }
    }
}

impl fmt::Display for ByteSize {
    /// In decimal units, with three digits or fewer after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = UNITS.iter().filter(|(name, _)| !name.contains('i'));
        let (unit, factor) = decimal.clone().find(|(_, factor)| self.0 >= *factor).unwrap_or(&("B", 1));
        let number = (self.0 as f64 / *factor as f64 * 100.0).round() / 100.0;
        write!(f, "{number} {unit}")
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The number 0 needs no unit, and so no quotes.
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in quotes, as in \"20 GB\", or 0")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<ByteSize, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("20 GB", 20_000_000_000, "20 GB"),
            ("1.5gb", 1_500_000_000, "1.5 GB"),
            (" 512 MiB ", 512 << 20, "536.87 MB"),
            ("0", 0, "0 B"),
            ("0 B", 0, "0 B"),
            ("999 B", 999, "999 B"),
            ("64kB", 64_000, "64 kB"),
            ("2 TiB", 2 << 40, "2.2 TB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in [
            "",
            "20",
            "GB",
            "20 G",
            "-1 GB",
            "1e3 GB",
            "NaN B",
            "inf GB",
            "1 GB/s",
            "1.2.3 GB",
            "20000000 TB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
