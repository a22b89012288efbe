//! The lines between those who log and the one thread that writes.
//!
//! Putting a line in never waits for the writing: where there is no room, the line is dropped and
//! counted. Bounded in bytes, since lines differ by a factor of a hundred.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of lines that may wait: some 5,000 lines, which a disk takes in milliseconds.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// The longest line. What is longer is cut: one line must not take the place of all others.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What a line costs beside its text.
const LINE_OVERHEAD: usize = size_of::<Line>();

/// A line on its way.
#[derive(Debug)]
pub(super) struct Line {
    /// Lines that had no room in the queue, between the line before and this one.
    pub(super) dropped_before: u64,
    pub(super) text: Vec<u8>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer, and whoever waits for the queue to be empty.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines that had no room since the last one that had.
    dropped: u64,
    /// Whether the writer has taken a line that is not written yet.
    writing: bool,
}

impl Queue {
    /// Puts a line in, or drops it.
    pub(super) fn push(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.bytes + text.len().min(LINE_BYTES_MAX) + LINE_OVERHEAD > QUEUE_BYTES_MAX {
            state.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped_before = std::mem::take(&mut state.dropped);
        state.add(Line { dropped_before, text: cut(text) });
        drop(state);
        self.changed.notify_all();
    }

    /// Lines that were lost since the beginning, for want of room or because they could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts a line that could not be written.
    pub(super) fn count_unwritten(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next line. The one before counts as written, or as given up.
    pub(super) fn next(&self) -> Line {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.text.len() + LINE_OVERHEAD;
                state.writing = true;
                return line;
            }
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all that was put in so far is written, for at most as long as `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        if state.dropped > 0 {
            // No line may follow that would say so.
            let dropped_before = std::mem::take(&mut state.dropped);
            state.add(Line { dropped_before, text: Vec::new() });
            self.changed.notify_all();
        }
        while state.writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, line: Line) {
        self.bytes += line.text.len() + LINE_OVERHEAD;
        self.lines.push_back(line);
    }
}

/// A line that is not too long.
fn cut(text: &[u8]) -> Vec<u8> {
    const MARK: &str = " [cut]\n";
    if text.len() <= LINE_BYTES_MAX {
        return text.to_vec();
    }
    let mut end = LINE_BYTES_MAX - MARK.len();
    // Not timeout a character (RFC 3629, section 3).
    while text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&text[..end], MARK.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_order_and_those_without_room_are_counted_where_they_are_missing() {
        let queue = Queue::default();
        queue.push(b"first\n");
        let large = vec![b'x'; LINE_BYTES_MAX];
        let mut pushed = 0;
        while queue.dropped() == 0 {
            queue.push(&large);
            pushed += 1;
        }
        assert!(
            (pushed - 1) * LINE_BYTES_MAX < QUEUE_BYTES_MAX
                && pushed * LINE_BYTES_MAX > QUEUE_BYTES_MAX - 2 * LINE_BYTES_MAX
        );
        queue.push(&large);
        assert_eq!(queue.next().text, b"first\n");
        for _ in 1..pushed {
            assert_eq!(queue.next().dropped_before, 0);
        }
        queue.push(b"last\n");
        let last = queue.next();
        assert_eq!((last.text.as_slice(), last.dropped_before), (&b"last\n"[..], 2));
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let long = "ü".repeat(LINE_BYTES_MAX);
        for start in ["", "x"] {
            let queue = Queue::default();
            queue.push(format!("{start}{long}\n").as_bytes());
            let line = String::from_utf8(queue.next().text).unwrap();
            assert!(
                line.len() <= LINE_BYTES_MAX
                    && line.len() > LINE_BYTES_MAX - 10
                    && line.ends_with("ü [cut]\n")
            );
        }
    }

    #[test]
    fn a_flush_ends_in_time_if_nothing_is_written() {
        let queue = Queue::default();
        queue.push(b"line\n");
        let started = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(started.elapsed() >= Duration::from_millis(50));
    }
}
