//! Parses TOML files. Errors name the line.
//!
//! Never quotes a value or a line: a misplaced password would appear in the log.

use serde::de::DeserializeOwned;

/// Why a text is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

/// Parses the text of a file.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        TomlError {
            line: before.unwrap_or_default().matches('\n').count() + 1,
            message: without_value(error.message().trim()).replace('\n', "; "),
        }
    })
}

/// Serde reports a wrong type as `invalid type: string "hunter2", expected …`.
fn without_value(message: &str) -> String {
    let value = message.find(['"', '`']).zip(message.rfind(", expected "));
    match value {
        Some((start, end)) if message.starts_with("invalid ") && start < end => {
            format!("{}{}", message[..start].trim_end(), &message[end..])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        for (text, expected) in [
            ("a = 1\nb = 'hunter2'\n", "line 2: invalid type: string, expected u8"),
            ("\n\nb = 'hunter2, expected'", "line 3: invalid type: string, expected u8"),
            ("b = 19.84", "line 1: invalid type: floating point, expected u8"),
            ("a = 1\n\nb = [hunter2", "line 3: "),
            ("b = hunter2", "line 1: "),
        ] {
            let error = parse::<BTreeMap<String, u8>>(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("19.84"), "{error}");
        }
    }
}
