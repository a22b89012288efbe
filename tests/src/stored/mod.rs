//! Layers that a client keeps on its disk: pulls on a disk that is full, read-only, damaged or another's, and what a user is told.
//! Must never touch another file system than the one that it mounts.

mod disk;
mod reader;

pub use disk::SmallDisk;
pub use reader::{read, read_and_hash};

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use hub_stand_in::Listen;
use serde_json::Value;

use crate::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
    stand_in::StandIn,
};

const KEEPING: [&str; 2] = ["--cache-size", "1 GB"];

const REPOSITORY: &str = "library/kept";
const MIB: u64 = 1 << 20;

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is full in the middle of a pull.
    Full,
    /// It is mounted read-only.
    ReadOnly,
    /// The directory belongs to another user.
    OtherUser,
    /// Another program keeps its files there.
    ForeignFiles,
    /// Bits of a layer that is on it are flipped.
    FlippedBits,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Full, Self::ReadOnly, Self::OtherUser, Self::ForeignFiles, Self::FlippedBits];

    /// Whether nothing is kept any more, which the user is to be told.
    pub fn stops_the_cache(self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly | Self::OtherUser)
    }
}

/// What came of a pull.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the engine got the layer, with the right digest.
    pub is_whole: bool,
    /// What `docxy-client status` says of the cache.
    pub status: String,
}

/// Pulls a layer by a client whose disk has this trouble. Needs root, to mount a file system.
pub fn pull_with(trouble: Trouble) -> Result<Outcome> {
    let blob = format!("--blob={REPOSITORY}:{}", 48 * MIB);
    let hub = StandIn::start(None, Listen::on(Ipv4Addr::LOCALHOST.into()), &[&blob])?;
    let server = Server::start(None, Ipv4Addr::LOCALHOST.into(), &hub.server_config())?;
    let mut client = Client::start_with(None, &server.invite("laptop")?, &KEEPING)?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    let path = format!("/v2/{REPOSITORY}/blobs/{}", hub.digest(REPOSITORY)?);
    if trouble == Trouble::FlippedBits {
        read_and_hash(client.address(), &path, |_| Ok(()))?;
    }
    client.stop()?;
    let directory = client.cache().join("blobs");
    // More than what is always left free.
    let disk = match trouble {
        Trouble::Full | Trouble::ReadOnly => Some(SmallDisk::mount(&client.cache(), "size=1200m")?),
        _ => None,
    };
    match trouble {
        Trouble::Full => {}
        Trouble::ReadOnly => disk.iter().try_for_each(|disk| disk.remount("ro"))?,
        Trouble::OtherUser => chown(&directory, Some(65534), None)?,
        Trouble::ForeignFiles => {
            fs::write(directory.join("README"), "mine")?;
            fs::create_dir(directory.join("mine"))?;
        }
        Trouble::FlippedBits => files_below(&directory)?.iter().try_for_each(|file| flip_bits(file))?,
    }
    client.start_again_with(&KEEPING)?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    let fill = |read: u64| match &disk {
        // The client is ahead of its reader by what sockets hold.
        Some(disk) if trouble == Trouble::Full && read > 4 * MIB => disk.remount("size=32m"),
        _ => Ok(()),
    };
    let digest = read_and_hash(client.address(), &path, fill)?;
    let is_told = |health: &Value| health["cache"]["paused"].is_string() || health["cache"]["state"] == "off";
    if trouble.stops_the_cache() {
        client.wait_for_health("tell why no layers are kept", PROCESS_TIMEOUT, is_told)?;
    }
    if trouble == Trouble::ForeignFiles {
        ensure!(fs::read(directory.join("README"))? == b"mine" && directory.join("mine").is_dir());
    }
    let address = client.address().to_string();
    let status = client.command_without_link(&["status", "--listen", &address], PROCESS_TIMEOUT)?;
    let mut lines = status.lines().skip_while(|line| *line != "kept on disk").skip(1);
    let status = lines.next().unwrap_or_default().trim().to_owned();
    client.stop()?;
    drop(disk);
    Ok(Outcome { is_whole: path.ends_with(&digest), status })
}

/// Flips one bit in each MiB.
fn flip_bits(file: &Path) -> Result<()> {
    let mut bytes = fs::read(file)?;
    // Behind what describes the layer.
    bytes.iter_mut().skip(MIB as usize).step_by(MIB as usize).for_each(|byte| *byte ^= 1);
    Ok(fs::write(file, bytes)?)
}

/// All files below a directory.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
