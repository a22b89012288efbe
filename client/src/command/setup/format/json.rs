//! JSON.

use super::{Format, FormatError, type_error};
use crate::command::setup::change::Change;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::Value;

pub(super) fn apply(text: &str, changes: &[Change]) -> Result<String, FormatError> {
    // The engine's own rules: no comments, no trailing commas.
    Format::Json.value(text)?;
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
