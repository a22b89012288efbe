//! `docxy-client setup` on a disk that is full: all or nothing.

use std::{fs, path::Path, process::Command};

use docxy_tests::process::{Finished, PROCESS_TIMEOUT, binary, run, scratch};

use crate::support::mount::Disk;

const BEFORE: &str = "debug = true\n";

/// Sets up buildx's file in this home directory.
fn setup(home: &Path, record: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary("docxy-client").unwrap());
    command.env_clear().env("HOME", home).env("CONFIGURATION_DIRECTORY", record);
    command.args(["setup", "buildx", "--registry", "docker.io"]).args(arguments);
    run(command, PROCESS_TIMEOUT).unwrap()
}

#[test]
fn a_full_disk_leaves_the_engines_file_and_nothing_else() {
    // One page is enough for the copy of the file, and not for the new one.
    for free in [None, Some(4096)] {
        let (mut disk, record) = (Disk::mount(), scratch().unwrap());
        let directory = disk.path().join(".docker/buildx");
        let file = directory.join("buildkitd.default.toml");
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, BEFORE).unwrap();
        match free {
            Some(free) => disk.fill_except(free),
            None => disk.fill(),
        }
        let error = setup(disk.path(), record.path(), &[]).refused().unwrap();
        assert!(error.contains("No space left") && error.contains("nothing was changed"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE);
        assert_eq!(directory.read_dir().unwrap().count(), 1);
        assert_eq!(record.path().read_dir().unwrap().count(), 0);
        disk.empty();
        setup(disk.path(), record.path(), &[]).succeeded().unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("mirrors"));
        setup(disk.path(), record.path(), &["--undo"]).succeeded().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE);
    }
}
