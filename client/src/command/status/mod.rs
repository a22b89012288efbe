//! `docxy-client status`: what the running client does, once, or redrawn in place.
//!
//! Must never change what the running client does.

mod changes;
mod signal;
pub(super) mod standing;
mod view;

pub(super) use signal::report_on_signal;

use crate::command::error::CommandError;
use crate::gateway::LineState;
use crate::local_api::socket_candidates;
use crate::settings::{Flags, ServingFlags, listen};
use crate::status::{NotRunning, Snapshot, read};
use changes::Changes;
use clap::Args;
use console::{Term, truncate_str};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::process::terminal::{print, reader_leaves_within};
use jiff::Timestamp;
use serde_json::json;
use std::io;
use std::time::Duration;
use view::{Drawn, lines};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show what the running client does: the tunnel, the pulls, the quota, and the last errors.
///
/// The same as a page, in a browser: http://127.0.0.1:5080/. Exits with 0 if the tunnel is up, and with 1 if it is not,
/// or if no client runs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client status\n  docxy-client status --watch\n  \
    docxy-client status --json | jq '.pulls[].image'")]
pub(super) struct StatusArguments {
    /// Look again each second, until it is interrupted. A terminal is redrawn in place. A pipe or a file gets a line for
    /// each thing that happens, which begins with its time: the tunnel or a server changes, a pull begins, has a further
    /// tenth, waits or ends, the quota changes, something fails
    #[arg(long, short)]
    watch: bool,
    /// Print JSON, for programs: with --watch one document a line
    #[arg(long)]
    json: bool,
    /// Where the client of this machine listens [default: 127.0.0.1:5080]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    listen: Vec<ListenAddress>,
}

pub(super) fn status(arguments: StatusArguments, flags: Flags) -> Result<(), CommandError> {
    let StatusArguments { watch, json, listen: addresses } = arguments;
    let is_named = !addresses.is_empty();
    let flags = Flags { serving: ServingFlags { listen: addresses, ..ServingFlags::default() }, ..flags };
    let address = listen(&flags)?[0];
    // A client that is named by its address may be another one than that with the socket.
    let sockets = if is_named { Vec::new() } else { socket_candidates() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::Start)?;
    let look = || runtime.block_on(read(&sockets, address));
    if watch {
        return watch_it(look, json);
    }
    let snapshot = look().map_err(CommandError::NotRunning)?;
    let drawn = Term::stdout().is_term().then(Drawn::of_environment);
    let text = if json { as_json(&snapshot, true) } else { joined(&lines(&snapshot, drawn)) };
    print(&text).map_err(CommandError::Output)?;
    match snapshot.line.tunnel {
        LineState::Up | LineState::Suspected => Ok(()),
        _ => Err(CommandError::NotUp),
    }
}

/// Ends without an error if nobody reads any more, as in `docxy-client status --watch | head`.
fn watch_it(look: impl Fn() -> Result<Snapshot, NotRunning>, json: bool) -> Result<(), CommandError> {
    let terminal = Term::stdout();
    let drawn = (terminal.is_term() && !json).then(Drawn::of_environment);
    let (mut screen, mut changes, mut last) = (Screen::default(), Changes::default(), String::new());
    loop {
        let snapshot = look();
        let text = if json {
            let text = match &snapshot {
                Ok(snapshot) => as_json(snapshot, false),
                Err(error) => format!("{}\n", json!({ "error": error.to_string() })),
            };
            let is_new = last != text;
            last.clone_from(&text);
            if is_new { text } else { String::new() }
        } else if drawn.is_some() {
            let lines = snapshot.map_or_else(|error| vec![error.to_string()], |shown| lines(&shown, drawn));
            screen.redrawn(&joined(&lines), terminal.size())
        } else {
            let now = Timestamp::now();
            joined(&match &snapshot {
                Ok(snapshot) => changes.lines(snapshot, now),
                Err(error) => changes.error(&error.to_string(), now),
            })
        };
        match print(&text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            printed => printed.map_err(CommandError::Output)?,
        }
        if reader_leaves_within(INTERVAL) {
            return Ok(());
        }
    }
}

/// What is drawn in place.
#[derive(Debug, Default)]
struct Screen {
    lines: usize,
    size: (u16, u16),
}

impl Screen {
    /// The text in place of the last one, on a terminal of so many rows and columns: a line that wraps, or scrolls away,
    /// could not be drawn over.
    fn redrawn(&mut self, text: &str, size: (u16, u16)) -> String {
        let (rows, columns) = size;
        let up = match self.lines {
            0 => String::new(),
            // The terminal may have wrapped the last lines again.
            _ if self.size != size => "\x1b[H\x1b[2J".to_owned(),
            lines => format!("\x1b[{lines}A"),
        };
        self.size = size;
        let shown: Vec<_> = text.lines().take(usize::from(rows).saturating_sub(1)).collect();
        self.lines = shown.len();
        let line = |line: &&str| format!("{}\x1b[K\n", truncate_str(line, columns.into(), ">"));
        // What is left below goes away.
        format!("{up}{}\x1b[J", shown.iter().map(line).collect::<String>())
    }
}

fn as_json(snapshot: &Snapshot, is_pretty: bool) -> String {
    let value = json!(snapshot);
    if is_pretty { format!("{value:#}\n") } else { format!("{value}\n") }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_drawn_over_the_last_one() {
        let mut screen = Screen::default();
        assert_eq!(screen.redrawn("a\nb\n", (24, 80)), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(screen.redrawn("c\n", (24, 80)), "\x1b[2Ac\x1b[K\n\x1b[J");
        assert_eq!(screen.redrawn("d\n", (24, 80)), "\x1b[1Ad\x1b[K\n\x1b[J");
        assert_eq!(screen.redrawn("long line\nb\nc\n", (3, 5)), "\x1b[H\x1b[2Jlong>\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
