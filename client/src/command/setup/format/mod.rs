//! The formats of config files: text in, text out.
//!
//! Must never change a comment, the order or the layout of what it does not change.

mod json;
mod toml;
mod yaml;

use super::change::{Change, undo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a text cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is not valid.
    #[error("{message}")]
    Invalid {
        /// From 1.
        line: usize,
        /// What is wrong. It quotes no value: a config file may hold passwords.
        message: String,
    },
    /// It has another value where a table or a list is expected.
    #[error("{0} is of another type than the engine expects: correct that, and run setup again")]
    Type(String),
    /// It begins with a byte order mark.
    #[error(
        "it begins with a byte order mark (the bytes EF BB BF), which the engine refuses: save it as UTF-8 without one, and \
         run setup again"
    )]
    ByteOrderMark,
    /// It is YAML that cannot be edited line by line.
    #[error("{why}; setup edits only plain lines of YAML. Add these by hand:\n{lines}")]
    ByHand {
        /// What cannot be edited.
        why: String,
        /// The lines of `setup` in it.
        lines: String,
    },
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Of dockerd and its like.
    Json,
    /// Of containerd, podman and BuildKit.
    Toml,
    /// Of k3s and RKE2.
    Yaml,
}

/// What some editors write at the beginning of a file, to say that it is UTF-8. Not all engines take it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// How our own files begin, where the format has comments.
pub const HEADER: &str =
    "# Written by `docxy-client setup`, and removed by `docxy-client setup ENGINE --undo`.\n";

impl Format {
    /// The text with the changes. A text without content gets a header if it becomes a file of ours.
    ///
    /// # Errors
    /// If the text is not valid, or YAML that `setup` did not write.
    pub fn apply(self, text: &str, changes: &[Change]) -> Result<String, FormatError> {
        if let Some(text) = self.without_mark(text)? {
            return Ok(format!("{BYTE_ORDER_MARK}{}", self.apply(text, changes)?));
        }
        let changed = match self {
            Self::Json => json::apply(text, changes)?,
            Self::Toml => toml::apply(text, changes)?,
            Self::Yaml => yaml::apply(text, changes).map_err(|error| by_hand(&error, changes))?,
        };
        let is_new = text.trim().is_empty();
        Ok(if is_new && self != Self::Json { format!("{HEADER}{changed}") } else { changed })
    }

    /// The text without what made `after` of `before`; `None` if nothing is left of a file that was ours alone.
    ///
    /// # Errors
    /// If the text is not valid any more, or YAML that was changed.
    pub fn undo(self, now: &str, before: Option<&str>, after: &str) -> Result<Option<String>, FormatError> {
        if now == after {
            return Ok(before.map(str::to_owned));
        }
        let changes = undo(&self.value(before.unwrap_or(""))?, &self.value(after)?, &self.value(now)?);
        let (mark, body) = match self.without_mark(now)? {
            Some(body) => (BYTE_ORDER_MARK.to_string(), body),
            None => (String::new(), now),
        };
        let body = match self {
            Self::Json => json::apply(body, &changes)?,
            Self::Toml => toml::apply(body, &changes)?,
            Self::Yaml => yaml::apply(body, &changes)?,
        };
        let text = mark + &body;
        let rest = text.strip_prefix(HEADER).unwrap_or(&text).trim();
        let is_ours_alone = before.is_none() && ["", "{}"].contains(&rest);
        Ok(if is_ours_alone { None } else { Some(text) })
    }

    /// The text after its byte order mark, if it begins with one. TOML has none: many versions of the engines refuse it.
    fn without_mark(self, text: &str) -> Result<Option<&str>, FormatError> {
        match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(_) if self == Self::Toml => Err(FormatError::ByteOrderMark),
            text => Ok(text),
        }
    }

    /// Whether both texts say the same.
    #[must_use]
    pub fn says_the_same(self, one: &str, other: &str) -> bool {
        one == other || self.value(one).is_ok_and(|value| self.value(other) == Ok(value))
    }

    /// The content.
    ///
    /// # Errors
    /// If the text is not valid.
    pub fn value(self, text: &str) -> Result<Value, FormatError> {
        let text = self.without_mark(text)?.unwrap_or(text);
        match self {
            Self::Json => json::value(text),
            Self::Toml => toml::value(text),
            Self::Yaml => yaml::value(text),
        }
    }
}

/// The refusal of a YAML file, with what the user is to add.
fn by_hand(error: &FormatError, changes: &[Change]) -> FormatError {
    let why = match error {
        FormatError::Invalid { line, message } => format!("line {line}: {message}"),
        other => other.to_string(),
    };
    match yaml::apply("", changes) {
        Ok(lines) => FormatError::ByHand { why, lines },
        Err(error) => error,
    }
}

/// A key; quoted if it is more than a word: `"*"`, and a registry with a port.
fn yaml_key(key: &str) -> String {
    let is_word = key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if is_word { key.to_owned() } else { Value::from(key).to_string() }
}

/// What a change expects at a path.
fn type_error(path: &[String]) -> FormatError {
    FormatError::Type(path.join("."))
}

#[cfg(test)]
mod tests;
