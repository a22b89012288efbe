//! The log filter as a user writes it: `info`, or `warn,docxy_server=debug`. Must never quote an invalid
//! one.

use serde::Deserialize;
use std::str::FromStr;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// A valid filter.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display, Deserialize)]
#[serde(try_from = "String")]
pub struct Filter(String);

/// The text is not a filter. It is not quoted, since it may be a misplaced secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is off, error, warn, info, debug or trace, or modules with these levels, as in warn,docxy_server=debug"
)]
pub struct FilterError;

impl Filter {
    /// A filter for this level and above.
    #[must_use]
    pub fn level(level: Level) -> Self {
        Self(level.to_string().to_lowercase())
    }

    /// The filter for `tracing`.
    pub(super) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("the text was validated")
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let filter = if text.contains('[') { text.trim().to_owned() } else { parse_directives(text)? };
        match EnvFilter::try_new(&filter) {
            Ok(_) => Ok(Self(filter)),
            Err(_) => Err(FilterError),
        }
    }
}

/// Validates a filter without spans, and removes spaces, which `EnvFilter` takes for parts of a module's
/// name.
fn parse_directives(text: &str) -> Result<String, FilterError> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    // `EnvFilter` takes a single word for a module with all its lines, so a misspelt level would turn the
    // log off.
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    let has_level = |word: &&str| is_level(word.rsplit_once('=').map_or(*word, |(_, level)| level));
    if words.iter().all(has_level) { Ok(words.join(",")) } else { Err(FilterError) }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_modules_with_levels() {
        for (text, expected) in [
            ("info", "info"),
            ("INFO", "INFO"),
            ("off", "off"),
            ("", ""),
            (" trace ", "trace"),
            ("warn, docxy_server=debug,", "warn,docxy_server=debug"),
            ("docxy_client::metadata=trace,quinn=off", "docxy_client::metadata=trace,quinn=off"),
            ("info,[exchange{id=4}]=debug", "info,[exchange{id=4}]=debug"),
        ] {
            assert_eq!(text.parse::<Filter>().map(|filter| filter.to_string()), Ok(expected.to_owned()));
        }
        for bad in ["inof", "warn,docxy_server", "docxy_server=loud", "docxy_server=", "info debug", "a=b=c"]
        {
            assert_eq!(bad.parse::<Filter>(), Err(FilterError), "{bad}");
        }
    }

    #[test]
    fn a_level_is_a_filter() {
        assert_eq!(Filter::level(Level::INFO), "info".parse().unwrap());
    }

    #[test]
    fn an_invalid_filter_in_a_file_is_an_error_of_the_file() {
        #[derive(Debug, Deserialize)]
        struct Config {
            log: Filter,
        }
        let config: Config = toml::from_str("log = 'debug'").unwrap();
        assert_eq!(config.log.to_string(), "debug");
        let error = toml::from_str::<Config>("\nlog = 'loud'").unwrap_err();
        assert_eq!(error.message(), FilterError.to_string());
    }
}
