//! The address of each server's last session, in a small file that outlives the client.
//!
//! Must never keep a client from working: a file that cannot be read counts as empty, and one that cannot be written is
//! logged.

use docxy_host::files::private_file;
use docxy_protocol::link::Host;
use parking_lot::Mutex;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file in the cache directory.
const FILE_NAME: &str = "addresses.json";

/// Servers that are remembered, the last ones used.
const SERVERS_MAX: usize = 32;

/// Bytes of the file that are read, at most: an entry with the longest host name has 300.
const FILE_BYTES_MAX: u64 = SERVERS_MAX as u64 * 512;

/// The addresses. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct AddressBook {
    path: Option<Arc<Path>>,
    /// By host name, the last one used first.
    servers: Arc<Mutex<Vec<(String, IpAddr)>>>,
}

impl AddressBook {
    /// Opens the book in this cache directory. Without one, it lasts as long as the process.
    pub(crate) fn open(cache: Option<&Path>) -> Self {
        let path: Option<PathBuf> = cache.map(|cache| cache.join(FILE_NAME));
        let servers = path.as_deref().map_or_else(Vec::new, |path| {
            read(path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the addresses of servers are unreadable; forgetting them");
                Vec::new()
            })
        });
        Self { path: path.map(Into::into), servers: Arc::new(Mutex::new(servers)) }
    }

    /// The same book, which stores nothing that is learned.
    pub(crate) fn unstored(self) -> Self {
        Self { path: None, ..self }
    }

    /// Where this server was reached the last time.
    pub(crate) fn last_good(&self, host: &Host) -> Option<IpAddr> {
        let servers = self.servers.lock();
        servers.iter().find(|(known, _)| known == host.as_str()).map(|(_, address)| *address)
    }

    /// This server was reached here. Needs a running runtime.
    pub(super) fn worked(&self, host: &Host, address: IpAddr) {
        if host.as_str().parse::<IpAddr>().is_ok() {
            return;
        }
        {
            let mut servers = self.servers.lock();
            let found = servers.iter().position(|(known, _)| known == host.as_str());
            let before = found.map(|found| servers.remove(found).1);
            servers.insert(0, (host.to_string(), address));
            servers.truncate(SERVERS_MAX);
            if before == Some(address) {
                return;
            }
        }
        let Some(path) = self.path.clone() else { return };
        let servers = Arc::clone(&self.servers);
        tokio::task::spawn_blocking(move || {
            // What is there now: another thread may have been faster.
            let servers = servers.lock();
            if let Err(error) = write(&path, &servers) {
                tracing::warn!(path = %path.display(), %error, "cannot store the addresses of servers");
            }
        });
    }
}

fn read(path: &Path) -> io::Result<Vec<(String, IpAddr)>> {
    if path.metadata().is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let Some(text) = private_file::read(path).map_err(io::Error::other)? else { return Ok(Vec::new()) };
    Ok(serde_json::from_slice(&text)?)
}

fn write(path: &Path, servers: &[(String, IpAddr)]) -> io::Result<()> {
    private_file::write_with_directory(path, &serde_json::to_vec(servers)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn host(n: usize) -> Host {
        format!("{n}.example").parse().unwrap()
    }

    #[tokio::test]
    async fn addresses_outlive_the_client() {
        let dir = tempfile::tempdir().unwrap();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let book = AddressBook::open(Some(dir.path()));
        for n in 0..SERVERS_MAX + 1 {
            book.worked(&host(n), address);
        }
        assert_eq!(book.last_good(&host(0)), None);
        while AddressBook::open(Some(dir.path())).last_good(&host(SERVERS_MAX)) != Some(address) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_damaged_file_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["{", "[[\"a\", \"nonsense\"]]", &"x".repeat(100_000)] {
            std::fs::write(dir.path().join(FILE_NAME), content).unwrap();
            assert_eq!(AddressBook::open(Some(dir.path())).last_good(&host(0)), None);
        }
    }
}
