//! A small file system in memory, and how to fill it.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use docxy_tests::process::{PROCESS_TIMEOUT, run, scratch};
use tempfile::TempDir;

/// The mount options: capacity in bytes and files.
const OPTIONS: &str = "size=512k,nr_inodes=96,mode=700";

/// A mounted file system, until it is dropped.
pub(crate) struct Disk {
    folder: TempDir,
    /// The number of files that fill it.
    fillers: usize,
}

impl Disk {
    pub(crate) fn mount() -> Self {
        let folder = scratch().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", OPTIONS, "docxy-test"]).arg(folder.path());
        run(command, PROCESS_TIMEOUT).unwrap().succeeded().unwrap();
        Self { folder, fillers: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Uses every free inode and every free block.
    pub(crate) fn fill(&mut self) {
        let mut last = None;
        while let Some(file) = self.new_filler() {
            last = Some(file);
        }
        let mut last = last.unwrap_or_else(|| OpenOptions::new().append(true).open(self.name(0)).unwrap());
        let full = loop {
            if let Err(error) = last.write_all(&[7; 512]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        let file = File::create(self.path().join("one-more"));
        assert_eq!(file.unwrap_err().kind(), ErrorKind::StorageFull);
    }

    /// Takes up all but so many bytes, and half of the inodes.
    pub(crate) fn fill_except(&mut self, bytes: u64) {
        self.fill();
        for n in 0..self.fillers - 1 {
            if n % 2 == 0 {
                fs::remove_file(self.name(n)).unwrap();
            }
        }
        let last = OpenOptions::new().write(true).open(self.name(self.fillers - 1)).unwrap();
        last.set_len(last.metadata().unwrap().len() - bytes).unwrap();
    }

    /// Takes the fillers away.
    pub(crate) fn empty(&mut self) {
        for n in 0..self.fillers {
            // Some are gone already.
            let _ = fs::remove_file(self.name(n));
        }
        self.fillers = 0;
    }

    /// One more file; `None` if no inode is free.
    fn new_filler(&mut self) -> Option<File> {
        match File::create(self.name(self.fillers)) {
            Ok(file) => {
                self.fillers += 1;
                Some(file)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                None
            }
        }
    }

    fn name(&self, n: usize) -> PathBuf {
        self.path().join(format!("filler-{n}"))
    }

    /// The number of manifests that a server has stored on it.
    pub(crate) fn manifests(&self) -> usize {
        let folders = fs::read_dir(self.path().join("manifests")).into_iter().flatten();
        folders.map(|folder| folder.unwrap().path().read_dir().unwrap().count()).sum()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(self.path());
        let _ = run(command, PROCESS_TIMEOUT);
    }
}
