//! The thread that writes the log. Only this thread waits for a slow reader, and only it gets the errors of
//! a full disk.
//!
//! A line that cannot be written is counted and discarded. The next one is tried again, since a full disk
//! can get space again. Must never end, and must never panic.

use super::queue::Queue;
use super::timestamp::timestamp;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Time between attempts to write to a descriptor that returns `WouldBlock`. Only a descriptor that another
/// process made non-blocking does so; all others block.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Starts the thread. If the system cannot start one, lines are dropped and counted once the queue is full.
pub(super) fn start(queue: Arc<Queue>, output: impl Write + Send + 'static) {
    let run = move || {
        let mut writer = LogWriter { output, lost: 0, partial: false };
        loop {
            let line = queue.next();
            writer.lost += line.dropped_before;
            if line.text.is_empty() {
                writer.report_lost();
            } else if !writer.write(&line.text) {
                queue.count_unwritten();
            }
        }
    };
    let _ = thread::Builder::new().name("docxy-log".into()).spawn(run);
}

struct LogWriter<W> {
    output: W,
    /// Lines lost since the last report.
    lost: u64,
    /// Whether the last line was written in part.
    partial: bool,
}

impl<W: Write> LogWriter<W> {
    /// Reports lost lines, if any, and writes a line. `false` if one of both failed.
    fn write(&mut self, line: &[u8]) -> bool {
        let written = self.report_lost() && self.write_whole(line);
        if !written {
            self.lost += 1;
        }
        written
    }

    /// Writes the number of lost lines, if there are any. `false` if that failed.
    fn report_lost(&mut self) -> bool {
        if self.lost == 0 {
            return true;
        }
        let lost = self.lost;
        let report = format!("{}  WARN docxy_host::logging: log lines were lost count={lost}\n", timestamp());
        let written = self.write_whole(report.as_bytes());
        if written {
            self.lost = 0;
        }
        written
    }

    fn write_whole(&mut self, line: &[u8]) -> bool {
        if self.partial && self.write_bytes(b"\n") == 0 {
            return false;
        }
        let written = self.write_bytes(line);
        self.partial = 0 < written && written < line.len();
        written == line.len()
    }

    /// Writes the bytes, as far as possible. Returns their number.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_INTERVAL),
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with this many free bytes.
    #[derive(Default)]
    struct Disk {
        free: usize,
        content: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fitting = bytes.len().min(self.free);
            if fitting == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.free -= fitting;
            self.content.extend_from_slice(&bytes[..fitting]);
            Ok(fitting)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_lost_on_a_full_disk_are_reported_before_the_next_line() {
        let disk = Disk { free: 10, ..Disk::default() };
        let mut writer = LogWriter { output: disk, lost: 0, partial: false };
        assert!(writer.write(b"first\n"));
        assert!(!writer.write(b"second\n") && !writer.write(b"third\n"));
        writer.output.free = 1000;
        assert!(writer.write(b"fourth\n") && writer.write(b"fifth\n"));
        let content = String::from_utf8(writer.output.content).unwrap();
        let lines: Vec<&str> = content.lines().collect();
        // The written part of the second line is a separate line.
        assert_eq!((lines[0], lines[1], &lines[3..]), ("first", "seco", &["fourth", "fifth"][..]));
        assert!(lines[2].ends_with(" count=2"), "{content}");
    }
}
