//! The thread that writes the log. It alone waits for a reader that does not read, and it alone sees
//! that a disk is full.
//!
//! A line that cannot be written is given up and counted; the next one is tried again, since disks
//! get room again. Must never end, and must never panic.

use super::queue::Queue;
use super::timestamp;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The pause before a descriptor that takes nothing at the moment is tried again. Only one that
/// somebody else has made non-blocking says so; all others block.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Starts the thread. Without one (the system may have none left) lines are dropped and counted once
/// the queue is full.
pub(super) fn start(queue: Arc<Queue>, output: impl Write + Send + 'static) {
    let run = move || {
        let mut writer = Writer { output, lost: 0, partial: false };
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

struct Writer<W> {
    output: W,
    /// Lines lost since it was last written how many.
    lost: u64,
    /// Whether the last line was written in part.
    partial: bool,
}

impl<W: Write> Writer<W> {
    /// Writes a line, and before it how many are missing. `false` if it could not be.
    fn write(&mut self, line: &[u8]) -> bool {
        let written = self.report_lost() && self.write_whole(line);
        if !written {
            self.lost += 1;
        }
        written
    }

    /// Writes how many lines are missing, if any are. `false` if that could not be.
    fn report_lost(&mut self) -> bool {
        if self.lost == 0 {
            return true;
        }
        let lost = self.lost;
        let report = format!("{}  WARN docxy_host::logging: log lines were lost lost={lost}\n", timestamp());
        let written = self.write_whole(report.as_bytes());
        if written {
            self.lost = 0;
        }
        written
    }

    fn write_whole(&mut self, line: &[u8]) -> bool {
        if self.partial {
            if self.write_bytes(b"\n").is_err() {
                return false;
            }
            self.partial = false;
        }
        match self.write_bytes(line) {
            Ok(()) => true,
            Err(Unwritten { after }) => {
                self.partial = after > 0;
                false
            }
        }
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let mut after = 0;
        while after < bytes.len() {
            match self.output.write(&bytes[after..]) {
                Ok(0) => return Err(Unwritten { after }),
                Ok(written) => after += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_INTERVAL),
                Err(_) => return Err(Unwritten { after }),
            }
        }
        Ok(())
    }
}

/// The rest was not written, after so many bytes.
struct Unwritten {
    after: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    #[derive(Default)]
    struct Disk {
        room: usize,
        content: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fitting = bytes.len().min(self.room);
            if fitting == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fitting;
            self.content.extend_from_slice(&bytes[..fitting]);
            Ok(fitting)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_and_the_next_line_that_fits_is_preceded_by_their_number() {
        let disk = Disk { room: 10, ..Disk::default() };
        let mut writer = Writer { output: disk, lost: 0, partial: false };
        assert!(writer.write(b"first\n"));
        assert!(!writer.write(b"second\n") && !writer.write(b"third\n"));
        writer.output.room = 1000;
        assert!(writer.write(b"fourth\n") && writer.write(b"fifth\n"));
        let content = String::from_utf8(writer.output.content).unwrap();
        let lines: Vec<&str> = content.lines().collect();
        // What was written of the second line is a line by itself.
        assert_eq!((lines[0], lines[1], &lines[3..]), ("first", "seco", &["fourth", "fifth"][..]));
        assert!(lines[2].ends_with(" lost=2"), "{content}");
    }
}
