//! The formats of config files: text in, text out.
//!
//! Must never change a comment, the order or the layout of what it does not change.

mod json;
mod toml;

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
    /// It is YAML that the user wrote or changed.
    #[error(
        "somebody else wrote or changed this file, and setup writes it only as a whole. The lines of setup in it:\n{0}"
    )]
    ByHand(String),
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Of dockerd and its like.
    Json,
    /// Of containerd, podman and BuildKit.
    Toml,
    /// Of k3s. No library keeps a YAML file's comments well enough, so it is written whole, or not at all.
    Yaml,
}

/// How our own files begin, where the format has comments.
pub const HEADER: &str =
    "# Written by `docxy-client setup`, and removed by `docxy-client setup ENGINE --undo`.\n";

impl Format {
    /// The text with the changes. A text without content gets a header if it becomes a file of ours.
    ///
    /// # Errors
    /// If the text is not valid, or YAML that `setup` did not write.
    pub fn apply(self, text: &str, changes: &[Change]) -> Result<String, FormatError> {
        let changed = match self {
            Self::Json => json::apply(text, changes)?,
            Self::Toml => toml::apply(text, changes)?,
            Self::Yaml => {
                let mut value = Value::Object(serde_json::Map::new());
                for change in changes {
                    // No other change is made to YAML.
                    if let Change::Set(path, new) = change {
                        *path.iter().fold(&mut value, |value, key| &mut value[key]) = new.clone();
                    }
                }
                let whole = yaml(&value, "");
                if !text.trim().is_empty() && text != format!("{HEADER}{whole}") {
                    return Err(FormatError::ByHand(whole));
                }
                whole
            }
        };
        let is_new = text.trim().is_empty() || self == Self::Yaml;
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
        if self == Self::Yaml {
            return Err(FormatError::ByHand(after.trim_start_matches(HEADER).to_owned()));
        }
        let changes = undo(&self.value(before.unwrap_or(""))?, &self.value(after)?, &self.value(now)?);
        let text = match self {
            Self::Json => json::apply(now, &changes)?,
            Self::Toml | Self::Yaml => toml::apply(now, &changes)?,
        };
        let rest = text.strip_prefix(HEADER).unwrap_or(&text).trim();
        let is_ours_alone = before.is_none() && ["", "{}"].contains(&rest);
        Ok(if is_ours_alone { None } else { Some(text) })
    }

    /// Whether both texts say the same.
    #[must_use]
    pub fn says_the_same(self, one: &str, other: &str) -> bool {
        one == other
            || self != Self::Yaml && self.value(one).is_ok_and(|value| self.value(other) == Ok(value))
    }

    /// The content of JSON or TOML.
    ///
    /// # Errors
    /// If the text is not valid.
    pub fn value(self, text: &str) -> Result<Value, FormatError> {
        match self {
            Self::Json if text.trim().is_empty() => Ok(Value::Object(serde_json::Map::new())),
            Self::Json => serde_json::from_str(text).map_err(|error| {
                let words = if error.is_eof() { "the file ends too early" } else { "this is not valid JSON" };
                FormatError::Invalid { line: error.line(), message: words.into() }
            }),
            Self::Toml => toml::value(text),
            Self::Yaml => Err(FormatError::ByHand(String::new())),
        }
    }
}

/// A value of maps, lists and scalars in YAML's block style. A scalar in JSON is one in YAML too.
fn yaml(value: &Value, indent: &str) -> String {
    let deeper = format!("{indent}  ");
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| match value {
                Value::Object(_) | Value::Array(_) => {
                    format!("{indent}{}:\n{}", yaml_key(key), yaml(value, &deeper))
                }
                _ => format!("{indent}{}: {value}\n", yaml_key(key)),
            };
            map.iter().map(entry).collect()
        }
        Value::Array(list) => list.iter().map(|value| format!("{indent}- {value}\n")).collect(),
        _ => format!("{indent}{value}\n"),
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
