//! Files that the user names for reading: settings, certificates, passwords.
//!
//! A pipe that this process was started with is one too: `/dev/stdin`, and `/dev/fd/N`, which a shell's `<(…)` is. Must never
//! wait for the writer of a pipe in the file system, whom nobody may have started.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A file's content.
///
/// # Errors
/// If it cannot be read, or is a named pipe.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path, OFlags::empty())?.read_to_end(&mut content)?;
    Ok(content)
}

/// A file's text.
///
/// # Errors
/// If it cannot be read, is a named pipe, or is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Opens a file with these flags of open(2).
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    if is_of_kernel(path) {
        return OpenOptions::new().read(true).custom_flags(as_std(flags)).open(path);
    }
    // It changes nothing for other files.
    let flags = flags | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(as_std(flags)).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        let text = "it is a named pipe, and nothing may ever be written to it; a file is needed";
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    Ok(file)
}

/// Whether a path may be that of an open file of this process.
pub(super) fn is_of_kernel(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// Flags of open(2), as the standard library takes them.
pub(super) fn as_std(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_pipe_of_this_process_is_read_to_its_end_and_a_named_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for error in [read(&path).unwrap_err(), super::super::private_file::open(&path).unwrap_err()] {
            assert!(error.to_string().contains("named pipe"), "{error}");
        }
        let (reader, mut writer) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || {
            (0..3).for_each(|_| writer.write_all(b"text").unwrap());
        });
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read_to_string(Path::new(&path)).unwrap(), "texttexttext");
        writing.join().unwrap();
    }
}
