//! `docxy-server clients`: lists the clients and their usage, for people or for programs. Beside it, [`invite`] adds a
//! client and [`revoke`] ends its access.
//!
//! Must never print a link, except the one that `invite` has just made.

pub(super) mod invite;
pub(super) mod revoke;

use super::error::CommandError;
use super::open_state;
use crate::access::live_clients::{self, LiveClients};
use crate::settings::{CommonSettings, Flags};
use crate::state::ClientList;
use crate::state::usage::{self, StoredUsages};
use docxy_host::process::terminal::{print, print_note};
use docxy_protocol::link::ClientName;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) fn clients(json: bool, flags: &Flags) -> Result<(), CommandError> {
    let basics = CommonSettings::load(flags)?;
    let state = open_state(&basics, "clients")?;
    let list = state.clients()?;
    let rows = match live_clients::ask(&state) {
        Ok(LiveClients { connections, usage }) => rows(&list, &usage, Some(&connections)),
        Err(_) => rows(&list, &usage::totals(&state)?, None),
    };
    if json {
        let text = serde_json::to_string_pretty(&rows).expect("names, times and counts are JSON");
        return print(&format!("{text}\n")).map_err(CommandError::Output);
    }
    if rows.is_empty() {
        // The file is named, because another user's state is elsewhere.
        print_note(&format!(
            "no client was invited yet in {}; docxy-server invite NAME adds one",
            state.clients_path().display()
        ));
        return Ok(());
    }
    if rows.iter().any(|row| row.connections.is_none()) {
        print_note(
            "no server answers here, so who is connected is not known, and bytes are as they were last written",
        );
    }
    print(&table(&rows)).map_err(CommandError::Output)
}

/// One client. The field names are those of the JSON output.
#[derive(Debug, Serialize)]
struct Row {
    name: ClientName,
    since: Timestamp,
    last_seen: Option<Timestamp>,
    /// How often it is connected now. `None` if the server does not tell.
    connections: Option<usize>,
    sent: u64,
    received: u64,
    state: &'static str,
}

fn rows(
    list: &ClientList,
    totals: &StoredUsages,
    connections: Option<&BTreeMap<ClientName, usize>>,
) -> Vec<Row> {
    list.iter()
        .map(|(name, client)| {
            let total = totals.get(name).copied().unwrap_or_default();
            // A running server has forgotten what was another's already, and its clock may differ from the inviter's.
            let total = if connections.is_some() { total } else { total.since(client.created) };
            Row {
                name: name.clone(),
                since: client.created,
                last_seen: total.last_seen,
                connections: connections.map(|all| all.get(name).copied().unwrap_or_default()),
                sent: total.sent,
                received: total.received,
                state: match client.revoked {
                    None => "active",
                    Some(_) => "revoked",
                },
            }
        })
        .collect()
}

fn table(rows: &[Row]) -> String {
    let header = ["NAME", "SINCE", "LAST SEEN", "CONNECTED", "DOWN", "UP", "STATE"].map(String::from);
    let lines: Vec<[String; 7]> = std::iter::once(header).chain(rows.iter().map(cells)).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].len()).max();
            let width = width.unwrap_or_default();
            text += &match column {
                0 => format!("{cell:width$}"),
                // Numbers are aligned to the right.
                3..=5 => format!("  {cell:>width$}"),
                6 => format!("  {cell}"),
                _ => format!("  {cell:width$}"),
            };
        }
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.name.to_string(),
        row.since.to_string(),
        row.last_seen.map_or_else(|| "never".to_owned(), |time| time.to_string()),
        match row.connections {
            None => "?".to_owned(),
            Some(0) => "no".to_owned(),
            Some(count) => count.to_string(),
        },
        size(row.sent),
        size(row.received),
        row.state.to_owned(),
    ]
}

/// A size in powers of 1024, for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = None;
    // A larger value would be rounded up to 1024.0.
    while value >= 1023.95 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        value /= 1024.0;
    }
    match unit {
        Some(unit) => format!("{value:.1} {unit}"),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::usage::StoredUsage;
    use docxy_protocol::link::ClientSecret;

    #[test]
    fn the_table_lines_up() {
        let time: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
        let names: [ClientName; 2] = ["laptop", "phone-of-a-friend"].map(|n| n.parse().unwrap());
        let mut list = ClientList::default();
        for name in &names {
            let secret = ClientSecret::from_random([1; 32]);
            list.add(name, &secret, time).unwrap();
        }
        list.revoke(&names[1], time);
        let used = StoredUsage { last_seen: Some(time), sent: 5 << 30, received: 999 };
        let totals = StoredUsages::from([(names[0].clone(), used)]);
        assert_eq!(
            table(&rows(&list, &totals, Some(&BTreeMap::from([(names[0].clone(), 2)])))),
            "\
NAME               SINCE                 LAST SEEN             CONNECTED     DOWN     UP  STATE
laptop             2026-11-24T04:00:00Z  2026-11-24T04:00:00Z          2  5.0 GiB  999 B  active
phone-of-a-friend  2026-11-24T04:00:00Z  never                        no      0 B    0 B  revoked
"
        );
    }

    #[test]
    fn sizes_have_one_decimal_and_the_right_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
