//! Text for a person that is not a log line: the last words of a program, a link that is shown once.
//!
//! Must never wait for the reader without a limit: a pipe whose reader has stopped reading, or a
//! terminal that was paused, takes nothing and reports no error.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a message may take to be written. Whoever reads at all takes it within milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Stream {
    /// Writes a text, for at most a second.
    ///
    /// # Errors
    /// Where it was not written in time, or could not be. Some of it may have been.
    pub fn write(self, text: &str) -> io::Result<()> {
        write(self.duplicate()?, text.to_owned())
    }

    /// A descriptor of our own. The standard library's handles have a lock, which a write that blocks
    /// would hold until the process ends.
    pub(crate) fn duplicate(self) -> io::Result<File> {
        let descriptor = match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        descriptor.map(File::from)
    }
}

fn write(mut file: File, text: String) -> io::Result<()> {
    let (sender, written) = mpsc::channel();
    // Not joined: one that blocks ends with the process.
    thread::Builder::new().name("docxy-terminal".into()).spawn(move || {
        // Nobody listens any more after the time-out.
        let _ = sender.send(file.write_all(text.as_bytes()));
    })?;
    written.recv_timeout(WRITE_TIMEOUT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_reader_gets_the_text_and_one_that_does_not_read_is_not_waited_for() {
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
    fn a_full_disk_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write(full, "hello".into()).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
