//! Changes to a config file, in no format: what `setup` adds, and what `--undo` takes away again.
//!
//! Must never touch what `setup` did not write.

use serde_json::{Map, Value};

/// Where a value is: the keys from the top.
pub type KeyPath = Vec<String>;

/// A change. Those that find nothing to change have no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives a key this value. A new table is put before its siblings, because containerd asks hosts in this order.
    Set(KeyPath, Value),
    /// Gives a key this value if it has none.
    Default(KeyPath, Value),
    /// Makes a text the first of a list.
    First(KeyPath, String),
    /// Puts a table into a list of tables, instead of the one that has the same value for this key.
    Table(KeyPath, &'static str, Map<String, Value>),
    /// Removes a key.
    Remove(KeyPath),
    /// Removes a table or a list that has become empty.
    RemoveEmpty(KeyPath),
    /// Removes this element of a list.
    RemoveElement(KeyPath, usize),
}

/// What undoes the changes between `before` and `after` in a file that is now `now`. Values that the user has changed
/// since stay.
#[must_use]
pub fn undo(before: &Value, after: &Value, now: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    undo_in(&mut Vec::new(), Some(before), after, now, &mut changes);
    changes
}

fn undo_in(
    path: &mut KeyPath,
    before: Option<&Value>,
    after: &Value,
    now: &Value,
    changes: &mut Vec<Change>,
) {
    match (before, after, now) {
        (Some(before), after, _) if before == after => {}
        // YAML has keys without a value.
        (Some(Value::Object(_) | Value::Null) | None, Value::Object(after), Value::Object(now)) => {
            for (key, after) in after {
                if let Some(now) = now.get(key) {
                    path.push(key.clone());
                    undo_in(path, before.and_then(|before| before.get(key)), after, now, changes);
                    path.pop();
                }
            }
            if before.is_none() {
                changes.push(Change::RemoveEmpty(path.clone()));
            }
        }
        (Some(before), after, now) if after == now => {
            changes.push(Change::Set(path.clone(), before.clone()));
        }
        (None, after, now) if after == now => changes.push(Change::Remove(path.clone())),
        (_, Value::Array(after), Value::Array(now)) => {
            let was_there = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let ours = |value: &Value| after.contains(value) && !was_there.contains(value);
            for (index, _) in now.iter().enumerate().rev().filter(|(_, value)| ours(value)) {
                changes.push(Change::RemoveElement(path.clone(), index));
            }
            if before.is_none() {
                changes.push(Change::RemoveEmpty(path.clone()));
            }
        }
        _ => {}
    }
}
