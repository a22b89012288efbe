//! TOML.

use super::{FormatError, type_error};
use crate::command::setup::change::Change;
use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, Decor, DocumentMut, InlineTable, Item, Table, TableLike};

pub(super) fn value(text: &str) -> Result<Value, FormatError> {
    toml_edit::de::from_str(text).map_err(|error| invalid(text, error.span(), error.message()))
}

pub(super) fn apply(text: &str, changes: &[Change]) -> Result<String, FormatError> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| invalid(text, error.span(), error.message()))?;
    for change in changes {
        make(document.as_table_mut(), change)?;
    }
    let changed = document.to_string();
    // The library writes no carriage return.
    let has_returns = text.contains("\r\n");
    Ok(if has_returns { changed.replace('\r', "").replace('\n', "\r\n") } else { changed })
}

fn invalid(text: &str, span: Option<std::ops::Range<usize>>, message: &str) -> FormatError {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let message = message.lines().next().unwrap_or_default().to_owned();
    FormatError::Invalid { line: before.matches('\n').count() + 1, message }
}

fn make(root: &mut Table, change: &Change) -> Result<(), FormatError> {
    let (path, is_new) = match change {
        Change::Set(path, _)
        | Change::Default(path, _)
        | Change::First(path, _)
        | Change::Table(path, ..) => (path, true),
        Change::Remove(path) | Change::RemoveEmpty(path) | Change::RemoveElement(path, _) => (path, false),
    };
    let Some((key, parents)) = path.split_last() else { return Ok(()) };
    let wrong_type = || type_error(path);
    let Some(table) = table_at(root, parents, is_new).ok_or_else(wrong_type)? else { return Ok(()) };
    match change {
        Change::Set(_, Value::Object(map)) => {
            let position = table.iter().filter_map(|(_, item)| item.as_table()?.position()).min();
            let mut new = table_of(map);
            new.set_position(position.map(|position| position - 1));
            table.insert(key, Item::Table(new));
        }
        Change::Set(_, value) => match table.get_mut(key) {
            Some(item) => *item = keeping_decor(item, item_of(value)),
            None => drop(table.insert(key, item_of(value))),
        },
        Change::Default(_, value) => drop(table.entry(key).or_insert_with(|| item_of(value))),
        Change::First(_, text) => {
            let list = table.entry(key).or_insert_with(|| Array::new().into());
            let list = list.as_array_mut().ok_or_else(wrong_type)?;
            if list.get(0).and_then(|value| value.as_str()) != Some(text) {
                list.retain(|value| value.as_str() != Some(text));
                list.insert(0, text);
                // `insert` leaves no space after the comma.
                if let Some(next) = list.get_mut(1).filter(|next| is_tight(next.decor())) {
                    next.decor_mut().set_prefix(" ");
                }
            }
        }
        Change::Table(_, by, map) => {
            let list = table.entry(key).or_insert_with(|| ArrayOfTables::new().into());
            let list = list.as_array_of_tables_mut().ok_or_else(wrong_type)?;
            let wanted = map.get(*by).and_then(Value::as_str);
            list.retain(|table| table.get(by).and_then(Item::as_str) != wanted);
            list.push(table_of(map));
        }
        Change::Remove(_) => drop(table.remove(key)),
        Change::RemoveEmpty(_) => {
            let is_empty = table.get(key).is_some_and(|item| match item {
                Item::ArrayOfTables(list) => list.is_empty(),
                item => {
                    item.as_table_like().is_some_and(TableLike::is_empty)
                        || item.as_array().is_some_and(Array::is_empty)
                }
            });
            if is_empty {
                table.remove(key);
            }
        }
        Change::RemoveElement(_, index) => match table.get_mut(key) {
            Some(Item::ArrayOfTables(list)) => drop(list.remove(*index)),
            Some(item) => {
                let list = item.as_array_mut().ok_or_else(wrong_type)?;
                let removed = list.remove(*index);
                if let (0, Some(first)) = (*index, list.get_mut(0)) {
                    *first.decor_mut() = removed.decor().clone();
                }
            }
            None => {}
        },
    }
    Ok(())
}

/// The table with these keys, made if it is to be. The outer `None` is another type on the way.
fn table_at<'a>(root: &'a mut Table, keys: &[String], make: bool) -> Option<Option<&'a mut dyn TableLike>> {
    let mut table: &mut dyn TableLike = root;
    for key in keys {
        if !table.contains_key(key) {
            if !make {
                return Some(None);
            }
            let mut new = Table::new();
            new.set_implicit(true);
            table.insert(key, Item::Table(new));
        }
        table = table.get_mut(key)?.as_table_like_mut()?;
    }
    Some(Some(table))
}

/// Whether nothing is before a value.
fn is_tight(decor: &Decor) -> bool {
    decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().is_empty()
}

/// The new item with the spaces and comments around the old one.
fn keeping_decor(old: &Item, new: Item) -> Item {
    match (old.as_value(), new) {
        (Some(old), Item::Value(mut new)) => {
            *new.decor_mut() = old.decor().clone();
            Item::Value(new)
        }
        (_, new) => new,
    }
}

fn table_of(map: &Map<String, Value>) -> Table {
    map.iter().map(|(key, value)| (key.as_str(), item_of(value))).collect()
}

fn item_of(value: &Value) -> Item {
    match value {
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            Item::ArrayOfTables(list.iter().filter_map(|value| Some(table_of(value.as_object()?))).collect())
        }
        value => Item::Value(value_of(value)),
    }
}

fn value_of(value: &Value) -> toml_edit::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        Value::Array(list) => list.iter().map(value_of).collect::<Array>().into(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key, value_of(value))).collect::<InlineTable>().into()
        }
        Value::String(text) => text.into(),
        // TOML has no null, so none is ever read.
        Value::Null => "".into(),
    }
}
