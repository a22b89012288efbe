//! JSON.

use super::{FormatError, type_error};
use crate::command::setup::change::Change;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};
use std::fmt;

/// The content. A text with a key twice in one table is not valid: engines read the last one, and people the first.
pub(super) fn value(text: &str) -> Result<Value, FormatError> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let invalid = |error: serde_json::Error| {
        let message = match error.classify() {
            Category::Eof => "the file ends too early".to_owned(),
            Category::Data => without_place(&error.to_string()).to_owned(),
            Category::Syntax | Category::Io => "this is not valid JSON".to_owned(),
        };
        FormatError::Invalid { line: error.line(), message }
    };
    let mut input = serde_json::Deserializer::from_str(text);
    let value = UniqueKeys.deserialize(&mut input).map_err(invalid)?;
    input.end().map_err(invalid)?;
    Ok(value)
}

/// The text of an error without its ` at line 1 column 2`.
fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message)
}

pub(super) fn apply(text: &str, changes: &[Change]) -> Result<String, FormatError> {
    // The engine's own rules: no comments, no trailing commas.
    value(text)?;
    let is_new = text.trim().is_empty();
    let root = CstRootNode::parse(if is_new { "{\n}\n" } else { text }, &ParseOptions::default()).map_err(
        |error| FormatError::Invalid { line: error.line_display(), message: "this is not valid JSON".into() },
    )?;
    let top = root.object_value().ok_or_else(|| FormatError::Type("the file".into()))?;
    for change in changes {
        make(&top, change)?;
    }
    Ok(root.to_string())
}

fn make(top: &CstObject, change: &Change) -> Result<(), FormatError> {
    let (Change::Set(path, _)
    | Change::Default(path, _)
    | Change::First(path, _)
    | Change::Table(path, ..)
    | Change::Remove(path)
    | Change::RemoveEmpty(path)
    | Change::RemoveElement(path, _)) = change;
    let Some((key, parents)) = path.split_last() else { return Ok(()) };
    let wrong_type = || type_error(path);
    let is_new = matches!(change, Change::Set(..) | Change::First(..));
    let mut object = top.clone();
    for key in parents {
        object = match object.get(key) {
            Some(found) => found.object_value().ok_or_else(wrong_type)?,
            None if is_new => object.append(key, CstInputValue::Object(Vec::new())).object_value_or_set(),
            None => return Ok(()),
        };
    }
    let property = object.get(key);
    match (change, property) {
        (Change::Set(_, value), Some(property)) => property.set_value(input(value)),
        (Change::Set(_, value), None) => drop(object.append(key, input(value))),
        (Change::First(_, text), Some(property)) => {
            let list = property.array_value().ok_or_else(wrong_type)?;
            let same = elements_of(&list, text);
            if same.first().is_none_or(|element| element.element_index() != Some(0)) {
                same.into_iter().for_each(CstNode::remove);
                list.insert(0, text.as_str().into());
            }
        }
        (Change::First(_, text), None) => {
            object.append(key, CstInputValue::Array(vec![text.as_str().into()]));
        }
        (Change::Remove(_), Some(property)) => property.remove(),
        (Change::RemoveEmpty(_), Some(property)) => {
            let is_empty = property.array_value().is_some_and(|list| list.elements().is_empty())
                || property.object_value().is_some_and(|object| object.properties().is_empty());
            if is_empty {
                property.remove();
            }
        }
        (Change::RemoveElement(_, index), Some(property)) => {
            let list = property.array_value().ok_or_else(wrong_type)?;
            if let Some(element) = list.elements().into_iter().nth(*index) {
                element.remove();
            }
        }
        // No JSON file has a list of tables, or a key that may be the user's.
        (Change::Table(..) | Change::Default(..), _) => return Err(wrong_type()),
        (_, None) => {}
    }
    Ok(())
}

fn elements_of(list: &CstArray, text: &str) -> Vec<CstNode> {
    let is_text = |node: &CstNode| {
        node.as_string_lit().is_some_and(|lit| lit.decoded_value().is_ok_and(|decoded| decoded == text))
    };
    list.elements().into_iter().filter(is_text).collect()
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(map) => {
            CstInputValue::Object(map.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}

/// Reads a value in which no table has a key twice.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = input.next_element_seed(Self)? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = input.next_key::<String>()? {
            if map.contains_key(&key) {
                let text = format!(
                    "the key {key:?} is there a second time, and the engine reads the last one: remove one"
                );
                return Err(A::Error::custom(text));
            }
            map.insert(key, input.next_value_seed(Self)?);
        }
        Ok(map.into())
    }
}
