//! What a terminal of a program under test shows.
//! Must never guess: a control sequence that it does not know fails the test.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex},
    thread,
};

use docxy_tests::process::{PROCESS_TIMEOUT, Process};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::task::block_in_place;

use crate::support::terminal::terminal;

const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// A screen, and the keyboard.
pub(crate) struct Screen {
    cells: Arc<Mutex<Cells>>,
    pub(crate) keyboard: File,
}

/// What is drawn, and where the cursor is. `None` after a sequence that is not known.
struct Cells {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    unread: Vec<u8>,
    /// What no test expects, such as a line that scrolls away.
    complaint: Option<String>,
}

impl Screen {
    /// A screen, and the device of its program.
    pub(crate) fn new() -> (Self, File) {
        let (master, device) = terminal();
        let size = Winsize { ws_row: ROWS as u16, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(master.as_fd(), size).unwrap();
        let cells = Arc::new(Mutex::new(Cells::new()));
        let keyboard = File::from(master.try_clone().unwrap());
        thread::spawn({
            let cells = Arc::clone(&cells);
            move || draw(master, &cells)
        });
        (Self { cells, keyboard }, device)
    }

    /// Waits until what `process` shows is as expected. Returns its lines, without those that are empty at the end.
    pub(crate) fn wait_for(
        &self,
        process: &mut Process,
        what: &str,
        is_expected: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let look = |_: &Process| {
            let lines = self.cells.lock().unwrap().lines();
            Ok(is_expected(&lines).then_some(lines))
        };
        let found = block_in_place(|| process.wait_for(what, PROCESS_TIMEOUT, look));
        let cells = self.cells.lock().unwrap();
        assert_eq!(cells.complaint, None);
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", cells.lines().join("\n")))
    }
}

/// Draws what a program writes, until its terminal is closed.
fn draw(master: OwnedFd, cells: &Mutex<Cells>) {
    let (mut master, mut bytes) = (File::from(master), [0; 4096]);
    // The last program's end is an error (EIO).
    while let Ok(length @ 1..) = master.read(&mut bytes) {
        let mut cells = cells.lock().unwrap();
        cells.unread.extend(&bytes[..length]);
        cells.draw();
    }
}

impl Cells {
    fn new() -> Self {
        Self { rows: vec![vec![' '; COLUMNS]; ROWS], row: 0, column: 0, unread: Vec::new(), complaint: None }
    }

    fn lines(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<_> = self.rows.iter().map(text).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Draws what is there of whole characters and sequences.
    fn draw(&mut self) {
        let unread = std::mem::take(&mut self.unread);
        let (text, rest) = match str::from_utf8(&unread) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (valid, rest) = unread.split_at(error.valid_up_to());
                (str::from_utf8(valid).unwrap(), rest)
            }
        };
        let mut left = text;
        while let Some(first) = left.chars().next() {
            let mut length = first.len_utf8();
            if first == '\x1b' {
                let is_end = |(at, c): (usize, char)| (at > 1 && c.is_ascii_alphabetic()).then_some(at + 1);
                let Some(end) = left.char_indices().find_map(is_end) else { break };
                length = end;
                self.obey(&left[..end]);
            } else {
                self.put(first);
            }
            left = &left[length..];
        }
        self.unread = [left.as_bytes(), rest].concat();
    }

    fn put(&mut self, char: char) {
        match char {
            '\r' => self.column = 0,
            '\n' if self.row + 1 < ROWS => self.row += 1,
            '\n' => self.complain("a line scrolls away"),
            char if char.is_control() => self.complain(&format!("{char:?}")),
            _ if self.column == COLUMNS => self.complain("a line wraps"),
            char => {
                self.rows[self.row][self.column] = char;
                self.column += 1;
            }
        }
    }

    /// A control sequence (ECMA-48, section 5.4).
    fn obey(&mut self, sequence: &str) {
        match sequence {
            "\x1b[H" => (self.row, self.column) = (0, 0),
            "\x1b[2J" => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            "\x1b[K" => self.rows[self.row][self.column..].fill(' '),
            "\x1b[J" => {
                self.rows[self.row][self.column..].fill(' ');
                self.rows[self.row + 1..].iter_mut().for_each(|row| row.fill(' '));
            }
            _ => {
                let up = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('A'));
                match up.and_then(|lines| lines.parse::<usize>().ok()) {
                    Some(lines) => self.row = self.row.saturating_sub(lines),
                    None => self.complain(&format!("{sequence:?}")),
                }
            }
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaint.get_or_insert_with(|| what.to_owned());
    }
}
