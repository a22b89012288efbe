//! The file that tells a script where a program listens, one address a line.

use crate::files::private_file;
use std::fmt::Display;
use std::path::PathBuf;

/// The file, if one is wanted.
#[derive(Debug)]
pub struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Removes the file of an earlier run, which would name old addresses.
    #[must_use]
    pub fn clear(path: Option<PathBuf>) -> Self {
        if let Some(path) = &path {
            let _ = std::fs::remove_file(path);
        }
        Self(path)
    }

    /// Writes the addresses. A failure is logged, since the program serves all the same.
    pub fn write(&self, addresses: impl IntoIterator<Item: Display>) {
        let Some(path) = &self.0 else { return };
        let lines: String = addresses.into_iter().map(|address| format!("{address}\n")).collect();
        if let Err(error) = private_file::write_with_directory(path, lines.as_bytes()) {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_earlier_run_goes_and_the_new_one_has_a_line_for_each_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/ready");
        for addresses in [&["127.0.0.1:1"][..], &["127.0.0.1:2", "[::1]:2"]] {
            let file = ReadyFile::clear(Some(path.clone()));
            assert!(!path.exists());
            file.write(addresses);
            let lines = std::fs::read_to_string(&path).unwrap();
            assert_eq!(lines.lines().collect::<Vec<_>>(), addresses);
        }
    }
}
