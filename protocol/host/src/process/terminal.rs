//! Text for the user that is not a log line: results on stdout, everything else on stderr.
//!
//! A program that serves must never wait for the reader without a timeout, which is what [`Stream::write`] is
//! for: a write to a paused terminal, or to a pipe that is not read, blocks without an error. A command that
//! ends with its output may wait.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Time to write a message. A reader that reads takes milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Stream {
    /// Writes a text; gives up after a second.
    ///
    /// # Errors
    /// If writing fails or times out. A part of the text may have been written.
    pub fn write(self, text: &str) -> io::Result<()> {
        write(self.duplicate()?, text.to_owned())
    }

    /// A duplicate of the descriptor. The standard library's handles have a lock, which a blocked write
    /// would hold until the process ends.
    pub(crate) fn duplicate(self) -> io::Result<File> {
        let descriptor = match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        descriptor.map(File::from)
    }
}

/// Prints a result on stdout. A failure is an error: the caller relies on the output, and
/// `docxy-server invite x > /full/disk` would lose the link.
///
/// # Errors
/// If stdout cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Waits this long, or until stdout is a pipe that nobody reads any more. Returns whether it is.
#[must_use]
pub fn reader_leaves_within(duration: Duration) -> bool {
    is_left_within(&io::stdout(), duration)
}

/// Whether this program was started without a stdout, so that what it writes there is lost without an error.
///
/// The standard library opens `/dev/null` for reading and writing where a descriptor is closed at the start. `>/dev/null`
/// of a shell opens it for writing alone.
#[must_use]
pub fn is_stdout_closed() -> bool {
    is_placeholder(&io::stdout())
}

/// Prints a note, which is not a result, on stderr.
pub fn print_note(text: &str) {
    // Without stderr the note is lost.
    let _ = writeln!(io::stderr(), "{text}");
}

fn write(mut file: File, text: String) -> io::Result<()> {
    let (sender, written) = mpsc::channel();
    // Not joined: a blocked thread ends with the process.
    thread::Builder::new().name("docxy-terminal".into()).spawn(move || {
        // After the timeout, the receiver is gone.
        let _ = sender.send(file.write_all(text.as_bytes()));
    })?;
    written.recv_timeout(WRITE_TIMEOUT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn is_placeholder(output: &impl AsFd) -> bool {
    let is_null =
        || fstat(output).is_ok_and(|one| stat("/dev/null").is_ok_and(|null| one.st_rdev == null.st_rdev));
    fcntl_getfl(output).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR) && is_null()
}

/// The kernel reports that without being asked (poll(2), `POLLERR` and `POLLHUP`).
fn is_left_within(output: &impl AsFd, duration: Duration) -> bool {
    let until = Timespec::try_from(duration).ok();
    poll(&mut [PollFd::new(output, PollFlags::empty())], until.as_ref()).is_ok_and(|events| events > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_write_to_a_pipe_that_is_not_read_times_out() {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        write(file.try_clone().unwrap(), "hello\n".into()).unwrap();
        let mut read = [0; 6];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello\n");
        let error = write(file, "x".repeat(1 << 20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_pipe_without_a_reader_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_left_within(&writer, Duration::ZERO));
        drop(reader);
        assert!(is_left_within(&writer, Duration::from_secs(3600)));
    }

    #[test]
    fn a_missing_output_is_told_from_one_that_the_user_discards() {
        let open = |path, read| File::options().read(read).write(true).open(path).unwrap();
        assert!(is_placeholder(&open("/dev/null", true)));
        assert!(!is_placeholder(&open("/dev/null", false)));
        assert!(!is_placeholder(&open("/dev/full", true)));
        assert!(!is_placeholder(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write(full, "hello".into()).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
