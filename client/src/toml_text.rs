//! TOML files as typed values, with errors that say on which line the trouble is.
//!
//! Never quotes the file: a password put into the wrong place would end up in the log.

use serde::de::DeserializeOwned;

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

/// Reads a whole file's text.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        TomlError {
            line: before.unwrap_or_default().matches('\n').count() + 1,
            message: error.message().trim().replace('\n', "; "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        for (text, line) in [("a = 1\nb = \"hunter2\"\n", 2), ("a = 1\n\nb = [hunter2", 3)] {
            let error = parse::<BTreeMap<String, u8>>(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
        }
        let error = parse::<BTreeMap<String, bool>>("b = hunter2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
