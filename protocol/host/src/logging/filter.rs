//! The log filter as a user writes it: `info`, or `warn,docxy_server=debug`. Must never quote an invalid
//! one.

use serde::Deserialize;
use std::str::FromStr;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// A valid filter.
#[derive(Debug, Clone, PartialEq, derive_more::Display, Deserialize)]
#[serde(try_from = "String")]
#[display("{text}")]
pub struct Filter {
    text: String,
    targets: Targets,
}

/// The text is not a filter. It is not quoted, since it may be a misplaced secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is off, error, warn, info or debug, or modules with these levels, as in warn,docxy_server=debug"
)]
pub struct FilterError;

impl Filter {
    /// A filter for this level and above.
    #[must_use]
    pub fn level(level: Level) -> Self {
        Self { text: level.to_string().to_lowercase(), targets: Targets::new().with_default(level) }
    }

    /// The filter for `tracing`.
    pub(super) fn targets(&self) -> Targets {
        self.targets.clone()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// An empty text is `error`.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let mut targets = Targets::new().with_default(Level::ERROR);
        for word in &words {
            targets = match word.rsplit_once('=') {
                None => targets.with_default(parse_level(word)?),
                Some((module, level)) if is_module(module) => {
                    targets.with_target(module, parse_level(level)?)
                }
                Some(_) => return Err(FilterError),
            };
        }
        Ok(Self { text: words.join(","), targets })
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, FilterError> {
    // `LevelFilter` takes an empty text for `error`.
    if text.is_empty() { Err(FilterError) } else { text.parse().map_err(|_| FilterError) }
}

/// Whether this is a path of modules, as in `docxy_client::metadata`.
fn is_module(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "_:-".contains(char))
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
        ] {
            assert_eq!(text.parse::<Filter>().map(|filter| filter.to_string()), Ok(expected.to_owned()));
        }
        for bad in [
            "inof",
            "warn,docxy_server",
            "docxy_server=loud",
            "docxy_server=",
            "info debug",
            "a=b=c",
            "[a]=info",
            "=info",
        ] {
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
