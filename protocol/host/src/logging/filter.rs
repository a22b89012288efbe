//! What is logged, as people write it: `info`, or `warn,docxy_server=debug`.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// A filter that is known to be one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Filter(String);

/// Why a text is no filter. Does not quote it: a secret may stand in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is off, error, warn, info, debug or trace, or modules with one of them, as in warn,docxy_server=debug"
)]
pub struct FilterError;

impl Filter {
    /// Everything from this level up.
    #[must_use]
    pub fn level(level: Level) -> Self {
        Self(level.to_string().to_lowercase())
    }

    /// The same for the code that does it.
    pub(super) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("it was parsed before")
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

/// A filter that names no span, without spaces: the library takes them for parts of a module's name.
fn parse_directives(text: &str) -> Result<String, FilterError> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    // To the library a lone word is a module of which everything is logged, and a level that is misspelt
    // would turn the log off.
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

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_modules_with_theirs() {
        for (text, meant) in [
            ("info", "info"),
            ("INFO", "INFO"),
            ("off", "off"),
            ("", ""),
            (" trace ", "trace"),
            ("warn, docxy_server=debug,", "warn,docxy_server=debug"),
            ("docxy_client::metadata=trace,quinn=off", "docxy_client::metadata=trace,quinn=off"),
            ("info,[exchange{id=4}]=debug", "info,[exchange{id=4}]=debug"),
        ] {
            assert_eq!(text.parse::<Filter>().map(|filter| filter.to_string()), Ok(meant.to_owned()));
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
    fn a_wrong_filter_in_a_file_is_an_error_of_the_file() {
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
