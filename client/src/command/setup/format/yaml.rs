//! YAML: block style, line by line.
//!
//! No library keeps a file's comments well enough. So only plain lines are edited: keys, scalars, and lists of scalars. Must
//! never edit a part that has anything else, such as anchors, flow style or text of several lines: what is around it stays as
//! it is, and a change within it is refused.

use super::{FormatError, type_error};
use crate::command::setup::change::Change;
use serde_json::{Map, Value};
use std::ops::Range;

/// The text with the changes.
pub(super) fn apply(text: &str, changes: &[Change]) -> Result<String, FormatError> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for change in changes {
        let top = parse(&lines)?;
        edit(&mut lines, &top, change)?;
    }
    parse(&lines)?;
    if text.lines().eq(&lines) {
        return Ok(text.to_owned());
    }
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    Ok(lines.iter().map(|line| format!("{line}{end}")).collect())
}

/// The content. Scalars are texts, as are the parts that cannot be edited.
pub(super) fn value(text: &str) -> Result<Value, FormatError> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    Ok(Node::Map(parse(&lines)?).value())
}

/// A key with what belongs to it.
#[derive(Debug)]
struct Entry {
    key: String,
    indent: usize,
    /// Its lines, without comments and empty lines at the end.
    lines: Range<usize>,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Empty,
    Scalar(String),
    Map(Vec<Entry>),
    /// Each item with its line, and how far they are indented.
    List(usize, Vec<(usize, String)>),
    /// What is not edited.
    Other(String),
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Scalar(text) | Self::Other(text) => text.as_str().into(),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.node.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
            Self::List(_, items) => items.iter().map(|(_, item)| item.as_str()).collect(),
        }
    }
}

/// A line with content: its number from 0, its indentation, and its text.
type Line<'a> = (usize, usize, &'a str);

/// The keys at the top.
fn parse(lines: &[String]) -> Result<Vec<Entry>, FormatError> {
    let mut significant: Vec<Line<'_>> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let text = line.trim_start_matches(' ');
        if text.starts_with('\t') {
            let message = "YAML is not indented with tabs".into();
            return Err(FormatError::Invalid { line: number + 1, message });
        }
        if !text.trim().is_empty() && !text.starts_with('#') {
            significant.push((number, line.len() - text.len(), text.trim_end()));
        }
    }
    if significant.first().is_some_and(|(.., text)| *text == "---") {
        significant.remove(0);
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = &significant[..];
    while let Some((&(number, indent, text), _)) = rest.split_first() {
        let invalid = |message: &str| FormatError::Invalid { line: number + 1, message: message.into() };
        let same_list = |&(_, indent, text): &Line<'_>| indent > 0 || is_item(text);
        let length = 1 + rest[1..].iter().take_while(|line| same_list(line)).count();
        let (section, others) = rest.split_at(length);
        rest = others;
        let (key, _) = key(text)
            .filter(|_| indent == 0)
            .ok_or_else(|| invalid("only lines of the form `KEY:` are read here"))?;
        if entries.iter().any(|entry| entry.key == key) {
            return Err(invalid(&format!("the key {key:?} is there a second time: remove one")));
        }
        let last = section.last().map_or(number, |(number, ..)| *number);
        let whole = || Node::Other(lines[number..=last].join("\n"));
        let parsed = map(&mut &*section).and_then(|mut entries| entries.pop());
        let node = parsed.map_or_else(whole, |entry| entry.node);
        entries.push(Entry { key, indent, lines: number..last + 1, node });
    }
    Ok(entries)
}

/// The keys that are indented as the first line. `None` if there is anything else.
fn map(lines: &mut &[Line<'_>]) -> Option<Vec<Entry>> {
    let indent = lines.first()?.1;
    let mut entries: Vec<Entry> = Vec::new();
    while let Some((&(number, at, text), rest)) = lines.split_first() {
        if at < indent {
            break;
        }
        let (key, inline) = key(text).filter(|_| at == indent)?;
        *lines = rest;
        let next = lines.first().copied();
        let node = match (scalar(inline), next) {
            (Some(text), _) if !text.is_empty() || inline.starts_with(['"', '\'']) => Node::Scalar(text),
            (None, _) => return None,
            (_, Some((_, at, text))) if is_item(text) && at >= indent => list(lines)?,
            (_, Some((_, at, _))) if at > indent => Node::Map(map(lines)?),
            _ => Node::Empty,
        };
        if entries.iter().any(|entry| entry.key == key) {
            return None;
        }
        let end = match &node {
            Node::Map(entries) => entries.last().map_or(number + 1, |last| last.lines.end),
            Node::List(_, items) => items.last().map_or(number, |(line, _)| *line) + 1,
            _ => number + 1,
        };
        entries.push(Entry { key, indent, lines: number..end, node });
    }
    Some(entries)
}

fn list(lines: &mut &[Line<'_>]) -> Option<Node> {
    let indent = lines.first()?.1;
    let mut items = Vec::new();
    while let Some((&(number, at, text), rest)) = lines.split_first() {
        if at < indent || at == indent && !is_item(text) {
            break;
        }
        let item = text.strip_prefix('-').filter(|_| at == indent)?.trim_start();
        // An item that is a map is not edited.
        let is_map = !item.starts_with(['"', '\'']) && key(item).is_some();
        items.push((number, scalar(item).filter(|item| !item.is_empty() && !is_map)?));
        *lines = rest;
    }
    Some(Node::List(indent, items))
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key of a line, and what follows its colon.
fn key(line: &str) -> Option<(String, &str)> {
    let (key, rest) = if line.starts_with(['"', '\'']) {
        let end = 1 + line[1..].find(&line[..1])?;
        let rest = line[end + 1..].strip_prefix(':')?;
        (scalar(&line[..=end])?, rest)
    } else {
        let end = line.find(": ").or_else(|| line.len().checked_sub(1).filter(|_| line.ends_with(':')))?;
        (scalar(&line[..end])?, &line[end + 1..])
    };
    let is_plain = !key.is_empty() && !is_item(line) && key != "<<";
    (is_plain && (rest.is_empty() || rest.starts_with(' '))).then(|| (key, rest.trim()))
}

/// A scalar of one line, without a comment after it. Empty for none.
fn scalar(text: &str) -> Option<String> {
    let is_end =
        |rest: &str| rest.trim().is_empty() || rest.starts_with(' ') && rest.trim_start().starts_with('#');
    match text.chars().next() {
        None | Some('#') => Some(String::new()),
        Some(quote @ ('"' | '\'')) => {
            let end = 1 + text[1..].find(quote)?;
            // Escapes are not read.
            let inner = Some(&text[1..end]).filter(|inner| !inner.contains('\\'))?;
            is_end(&text[end + 1..]).then(|| inner.to_owned())
        }
        Some(first) if "&*!|>{}[],%@`?".contains(first) || is_item(text) => None,
        Some(_) => {
            let text = text.split(" #").next().unwrap_or_default().trim_end();
            (!text.contains(": ")).then(|| text.to_owned())
        }
    }
}

fn edit(lines: &mut Vec<String>, top: &[Entry], change: &Change) -> Result<(), FormatError> {
    let (Change::Set(path, _)
    | Change::Default(path, _)
    | Change::First(path, _)
    | Change::Table(path, ..)
    | Change::Remove(path)
    | Change::RemoveEmpty(path)
    | Change::RemoveElement(path, _)) = change;
    // The last of the keys that are there, and how many are.
    let (mut entries, mut found, mut depth) = (top, None::<&Entry>, 0);
    while let Some(entry) = path.get(depth).and_then(|key| entries.iter().find(|entry| entry.key == *key)) {
        (found, depth) = (Some(entry), depth + 1);
        entries = if let Node::Map(entries) = &entry.node { entries } else { &[] };
    }
    let wrong_type = || type_error(path);
    let missing = &path[depth..];
    match (change, found) {
        (Change::First(_, text), _) if !missing.is_empty() => {
            insert(lines, found, missing, &item(text), path)
        }
        (Change::Set(_, value), _) if !missing.is_empty() && !value.is_object() && !value.is_array() => {
            insert(lines, found, missing, &value.to_string(), path)
        }
        (Change::First(_, text), Some(entry)) => match &entry.node {
            Node::List(indent, items) => {
                if items[0].1 != *text {
                    for (line, _) in items.iter().rev().filter(|(_, item)| item == text) {
                        lines.remove(*line);
                    }
                    lines.insert(items[0].0, format!("{}{}", " ".repeat(*indent), item(text)));
                }
                Ok(())
            }
            Node::Empty => {
                lines
                    .insert(entry.lines.start + 1, format!("{}{}", " ".repeat(entry.indent + 2), item(text)));
                Ok(())
            }
            _ => Err(wrong_type()),
        },
        (Change::Set(_, value), Some(entry)) => match &entry.node {
            Node::Scalar(text) if serde_json::from_str(text).is_ok_and(|read: Value| read == *value) => {
                Ok(())
            }
            Node::List(_, items) => shorten(lines, items, value).ok_or_else(wrong_type),
            _ => Err(wrong_type()),
        },
        // There is nothing to remove.
        (Change::Remove(_) | Change::RemoveEmpty(_) | Change::RemoveElement(..), _)
            if !missing.is_empty() =>
        {
            Ok(())
        }
        (Change::Remove(_), Some(entry)) => {
            lines.drain(entry.lines.clone());
            Ok(())
        }
        (Change::RemoveEmpty(_), Some(entry)) => {
            if matches!(entry.node, Node::Empty) {
                lines.drain(entry.lines.clone());
            }
            Ok(())
        }
        (Change::RemoveElement(_, index), Some(entry)) => match &entry.node {
            Node::List(_, items) => {
                items.get(*index).into_iter().for_each(|(line, _)| drop(lines.remove(*line)));
                Ok(())
            }
            _ => Err(wrong_type()),
        },
        _ => Err(wrong_type()),
    }
}

/// Removes the items that are not in this list. `None` if there is more to do.
fn shorten(lines: &mut Vec<String>, items: &[(usize, String)], wanted: &Value) -> Option<()> {
    let wanted: Vec<&str> = wanted.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let (kept, others): (Vec<_>, Vec<_>) =
        items.iter().partition(|(_, item)| wanted.contains(&item.as_str()));
    if !kept.iter().map(|(_, item)| item.as_str()).eq(wanted) {
        return None;
    }
    others.iter().rev().for_each(|(line, _)| drop(lines.remove(*line)));
    Some(())
}

/// Adds keys below an entry, or at the end of the file, the last with this value.
fn insert(
    lines: &mut Vec<String>,
    parent: Option<&Entry>,
    keys: &[String],
    value: &str,
    path: &[String],
) -> Result<(), FormatError> {
    let (mut indent, at) = match parent {
        None => (0, lines.len()),
        Some(parent) => match &parent.node {
            Node::Map(entries) => (entries[0].indent, parent.lines.end),
            Node::Empty => (parent.indent + 2, parent.lines.end),
            _ => return Err(type_error(path)),
        },
    };
    let mut new = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let is_scalar = number + 1 == keys.len() && !is_item(value);
        let value = if is_scalar { format!(" {value}") } else { String::new() };
        new.push(format!("{}{}:{value}", " ".repeat(indent), super::yaml_key(key)));
        indent += 2;
    }
    if is_item(value) {
        new.push(format!("{}{value}", " ".repeat(indent)));
    }
    lines.splice(at..at, new);
    Ok(())
}

/// A line of a list, as JSON writes the text, which YAML reads.
fn item(text: &str) -> String {
    format!("- {}", Value::from(text))
}
