//! The queue of log lines for the writer thread.
//!
//! Adding a line must never wait for the writer: if the queue is full, the line is dropped and counted. Its
//! limit is in bytes, since the length of lines differs by a factor of a hundred.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of all queued lines: about 5,000 lines, which a disk takes in milliseconds.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one line. Longer lines are cut, so that one line cannot fill the queue.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of memory for a queued line in addition to its text.
const LINE_OVERHEAD: usize = size_of::<Line>();

/// A queued line.
#[derive(Debug)]
pub(super) struct Line {
    /// Lines dropped between the previous line and this one.
    pub(super) dropped_before: u64,
    pub(super) text: Vec<u8>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer and waiting flushes.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines dropped since the last queued one.
    dropped: u64,
    /// Whether the writer is writing a line.
    writing: bool,
}

impl Queue {
    /// Adds a line, or drops it if the queue is full.
    pub(super) fn push(&self, text: &[u8]) {
        let mut state = self.state.lock();
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

    /// Lines lost since the start: dropped because the queue was full, or not written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts a line that could not be written.
    pub(super) fn count_unwritten(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next line. The caller has finished with the previous one.
    pub(super) fn next(&self) -> Line {
        let mut state = self.state.lock();
        state.writing = false;
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.text.len() + LINE_OVERHEAD;
                state.writing = true;
                return line;
            }
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }

    /// Waits until the queue is empty and its last line is written, or until the timeout.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        if state.dropped > 0 {
            // Reports the dropped lines, since no other line may follow.
            let dropped_before = std::mem::take(&mut state.dropped);
            state.add(Line { dropped_before, text: Vec::new() });
            self.changed.notify_all();
        }
        while state.writing || !state.lines.is_empty() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl State {
    fn add(&mut self, line: Line) {
        self.bytes += line.text.len() + LINE_OVERHEAD;
        self.lines.push_back(line);
    }
}

/// Cuts a line to [`LINE_BYTES_MAX`].
fn cut(text: &[u8]) -> Vec<u8> {
    const CUT_SUFFIX: &str = " [cut]\n";
    if text.len() <= LINE_BYTES_MAX {
        return text.to_vec();
    }
    let mut end = LINE_BYTES_MAX - CUT_SUFFIX.len();
    // Not within a character (RFC 3629, section 3).
    while text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&text[..end], CUT_SUFFIX.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_in_order_and_dropped_ones_are_counted_at_their_position() {
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
    fn a_long_line_is_cut_between_characters() {
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
    fn a_flush_times_out_if_nothing_is_written() {
        let queue = Queue::default();
        queue.push(b"line\n");
        let started = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(started.elapsed() >= Duration::from_millis(50));
    }
}
