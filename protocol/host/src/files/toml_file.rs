//! Settings files in TOML as typed values. An error names the file, the line and, for an unknown key, the
//! allowed ones.
//!
//! Must never quote a value or a line: a misplaced password would be written to the log.

use super::input_file;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
pub use toml::Spanned;

/// Why a text cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum TomlFileError {
    /// It cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Its text is not valid.
    #[error("{}, {source}", path.display())]
    Invalid { path: PathBuf, source: TomlError },
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read or parsed.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, TomlFileError> {
    let text = input_file::read_to_string(path)
        .map_err(|source| TomlFileError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|source| TomlFileError::Invalid { path: path.to_owned(), source })
}

/// The error of this value, which a file has, and which is not valid for this reason.
#[must_use]
pub fn invalid<T>(path: &Path, value: &Spanned<T>, reason: &impl Display) -> TomlFileError {
    // A file that has changed since it was read may have the value elsewhere.
    let text = input_file::read_to_string(path).unwrap_or_default();
    let source = TomlError { line: line(&text, Some(value.span())), message: reason.to_string() };
    TomlFileError::Invalid { path: path.to_owned(), source }
}

/// This path, if it exists. If existence cannot be checked, reading it reports why.
#[must_use]
pub fn existing(default: PathBuf) -> Option<PathBuf> {
    default.try_exists().unwrap_or(true).then_some(default)
}

/// A path in a file, resolved against the file's own directory, since the working directory of the program
/// may be any.
#[must_use]
pub fn resolve(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// Parses the text of a file.
///
/// # Errors
/// If the text is not TOML, or lacks a key or has one that `T` does not have.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| TomlError {
        line: line(text, error.span()),
        message: in_words(&without_value(error.message().trim())).replace('\n', "; "),
    })
}

/// The line in which a part of the text begins.
fn line(text: &str, part: Option<Range<usize>>) -> usize {
    let before = part.and_then(|part| text.get(..part.start));
    before.unwrap_or_default().matches('\n').count() + 1
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

/// With what a user writes in place of the names of types.
fn in_words(message: &str) -> String {
    let words = [
        ("a sequence", "a list, as in [\"a\", \"b\"]"),
        ("a boolean", "true or false"),
        ("a string", "text in quotes"),
        ("path string", "a path in quotes"),
        ("u64", "a whole number"),
        ("a map", "a table"),
    ];
    let found = message.rsplit_once(", expected ").and_then(|(before, name)| {
        let (_, words) = words.iter().find(|(known, _)| *known == name)?;
        Some(format!("{before}, expected {words}"))
    });
    found.unwrap_or_else(|| message.to_owned())
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

    #[test]
    fn a_wrong_type_is_named_as_users_write_it() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct File {
            list: Vec<String>,
            text: String,
            switch: bool,
            number: u64,
            path: PathBuf,
        }
        for (text, expected) in [
            ("list = 'a'", "expected a list, as in [\"a\", \"b\"]"),
            ("list = [5]", "expected text in quotes"),
            ("text = 5", "expected text in quotes"),
            ("switch = 'yes'", "expected true or false"),
            ("number = '10m'", "expected a whole number"),
            ("path = []", "expected a path in quotes"),
        ] {
            let error = parse::<File>(text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_with_file_line_and_allowed_keys() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(rename = "listen")]
            _listen: Option<String>,
            #[serde(rename = "log")]
            _log: Option<String>,
        }
        let dir = tempfile::tempdir().unwrap();
        let path = resolve(&dir.path().join("any.toml"), Path::new("x.toml"));
        assert!(existing(path.clone()).is_none());
        assert!(read::<File>(&path).unwrap_err().to_string().contains("x.toml: No such file"));
        std::fs::write(&path, "\nlisten_on = 'hunter2'").unwrap();
        let error = read::<File>(&existing(path).unwrap()).unwrap_err().to_string();
        let words = "x.toml, line 2: unknown field `listen_on`, expected `listen` or `log`";
        assert!(error.ends_with(words), "{error}");
    }
}
