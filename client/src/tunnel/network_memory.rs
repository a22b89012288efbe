//! What was learned about the ways to servers on each network, in a small file that outlives the client.
//!
//! Must never keep a client from working: a file that cannot be read counts as empty, and one that cannot be written is
//! logged.

use crate::tunnel::leg::Knowledge;
use docxy_host::files::private_file;
use docxy_host::platform::network::Network;
use docxy_host::trouble::Trouble;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file in the cache directory.
const FILE_NAME: &str = "networks.json";

/// Networks that are remembered, the last ones used. A traveller meets a few each week.
const NETWORKS_MAX: usize = 32;

/// Servers that are remembered on each network.
const SERVERS_MAX: usize = 16;

/// Bytes of the file that are read, at most: an entry with the longest host names has 1,200.
const FILE_BYTES_MAX: u64 = (NETWORKS_MAX * SERVERS_MAX) as u64 * 1536;

/// What is known of all networks.
#[derive(Debug, Default)]
pub(crate) struct NetworkMemory {
    path: Option<PathBuf>,
    /// The last one used comes first.
    networks: Vec<KnownNetwork>,
    /// That the file cannot be written.
    trouble: Trouble,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownNetwork {
    network: Network,
    /// The last one used comes first.
    servers: Vec<KnownServer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownServer {
    /// Its host and ports, and the proxy that the environment names.
    server: String,
    /// When this was known, in seconds since 1970.
    at: u64,
    legs: Knowledge,
}

impl NetworkMemory {
    /// Opens the memory in this cache directory. Without one, it lasts as long as the process.
    #[must_use]
    pub(crate) fn open(cache: Option<&Path>) -> Self {
        let Some(path) = cache.map(|cache| cache.join(FILE_NAME)) else { return Self::default() };
        let networks = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what was learned about networks is unreadable; forgetting it");
            Vec::new()
        });
        Self { path: Some(path), networks, trouble: Trouble::default() }
    }

    /// What is known of a server, by its host, ports and proxy, on this network.
    #[must_use]
    pub(crate) fn recall(&self, network: &Network, server: &str, now: SystemTime) -> Knowledge {
        let known = self.networks.iter().find(|known| known.network.matches(network));
        let known = known.and_then(|known| known.servers.iter().find(|known| known.server == server));
        known.map_or_else(Knowledge::default, |known| {
            let at = UNIX_EPOCH.checked_add(Duration::from_secs(known.at));
            // A clock that was set back has not measured any time.
            let elapsed = at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
            known.legs.clone().after(elapsed)
        })
    }

    /// Stores what is known of a server on this network. Blocks while the file is written.
    pub(crate) fn store(&mut self, network: &Network, server: &str, legs: Knowledge, now: SystemTime) {
        let found = self.networks.iter().position(|known| known.network.matches(network));
        let mut entry = match found {
            Some(found) => self.networks.remove(found),
            None => KnownNetwork { network: network.clone(), servers: Vec::new() },
        };
        if network.gateway.as_ref().is_some_and(|gateway| gateway.hardware.is_some()) {
            entry.network = network.clone();
        }
        entry.servers.retain(|known| known.server != server);
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        entry.servers.insert(0, KnownServer { server: server.to_owned(), at, legs });
        entry.servers.truncate(SERVERS_MAX);
        self.networks.insert(0, entry);
        self.networks.truncate(NETWORKS_MAX);
        let Some(path) = &self.path else { return };
        match write(path, &self.networks) {
            Ok(()) => drop(self.trouble.end(Instant::now())),
            Err(error) if self.trouble.begin(Instant::now()) => {
                tracing::warn!(path = %path.display(), %error, "cannot store what was learned about networks");
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<KnownNetwork>> {
    if path.metadata().is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let Some(text) = private_file::read(path).map_err(io::Error::other)? else { return Ok(Vec::new()) };
    Ok(serde_json::from_slice(&text)?)
}

fn write(path: &Path, networks: &[KnownNetwork]) -> io::Result<()> {
    private_file::write_with_directory(path, &serde_json::to_vec(networks)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::leg::{RestCause, RestKnowledge, Way, WayKnowledge};
    use std::os::unix::fs::PermissionsExt as _;

    const SERVER: &str = "example.org:61443";

    fn network(n: usize) -> Network {
        Network { gateway: None, prefixes: vec![format!("10.0.{n}.0/24")] }
    }

    fn blocked() -> Knowledge {
        let rest = Some(RestKnowledge { left: Duration::from_secs(480), cause: RestCause::Unreachable });
        let quic = WayKnowledge { rest, rests: 1, ..WayKnowledge::default() };
        Knowledge { preferred: Way::Tcp, quic, ..Knowledge::default() }
    }

    #[test]
    fn the_next_client_knows_what_this_one_learned() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let now = SystemTime::now();
        NetworkMemory::open(Some(&cache)).store(&network(1), SERVER, blocked(), now);
        let path = cache.join(FILE_NAME);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let memory = NetworkMemory::open(Some(&cache));
        let later = memory.recall(&network(1), SERVER, now + Duration::from_secs(100));
        let rest = later.quic.rest.unwrap();
        assert_eq!((later.preferred, rest.cause), (Way::Tcp, RestCause::Unreachable));
        assert!((Duration::from_secs(379)..=Duration::from_secs(380)).contains(&rest.left), "{rest:?}");
        for (other, server) in [(network(2), SERVER), (network(1), "example.net:61443")] {
            assert_eq!(memory.recall(&other, server, now), Knowledge::default());
        }
        let before = memory.recall(&network(1), SERVER, UNIX_EPOCH);
        assert_eq!(before, blocked(), "the clock was set back");
    }

    #[test]
    fn a_damaged_file_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        for text in [&b"[{"[..], b"{}", b"\xff", &vec![b' '; FILE_BYTES_MAX as usize + 1]] {
            std::fs::write(&path, text).unwrap();
            let mut memory = NetworkMemory::open(Some(dir.path()));
            let now = SystemTime::now();
            assert_eq!(memory.recall(&network(1), SERVER, now), Knowledge::default());
            memory.store(&network(1), SERVER, blocked(), now);
            let memory = NetworkMemory::open(Some(dir.path()));
            assert_eq!(memory.recall(&network(1), SERVER, now).preferred, Way::Tcp);
        }
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = NetworkMemory::default();
        let now = SystemTime::now();
        let rest = RestKnowledge { left: Duration::MAX, cause: RestCause::PoorGoodput };
        let way =
            WayKnowledge { goodput: Some((u64::MAX, Duration::MAX)), rest: Some(rest), rests: u32::MAX };
        let legs = Knowledge { preferred: Way::Tcp, quic: way, tcp: way, proxy: way };
        for n in 0..NETWORKS_MAX + 5 {
            if n == NETWORKS_MAX + 4 {
                memory.path = Some(dir.path().join(FILE_NAME));
            }
            for server in 0..SERVERS_MAX + 3 {
                memory.store(
                    &network(n),
                    &format!("{0}:{server} or by http://{0}:8080", "h".repeat(250)),
                    legs.clone(),
                    now,
                );
            }
        }
        let length = dir.path().join(FILE_NAME).metadata().unwrap().len();
        assert!(length <= FILE_BYTES_MAX, "{length}");
        let memory = NetworkMemory::open(Some(dir.path()));
        let known = |n: usize, server: usize| {
            let server = format!("{0}:{server} or by http://{0}:8080", "h".repeat(250));
            memory.recall(&network(n), &server, now).preferred == Way::Tcp
        };
        assert!(known(NETWORKS_MAX + 4, SERVERS_MAX + 2) && known(5, 3));
        assert!(!known(4, SERVERS_MAX) && !known(NETWORKS_MAX + 4, 2));
    }

    #[test]
    fn a_network_whose_gateway_becomes_known_is_the_same() {
        let mut memory = NetworkMemory::default();
        let with = |hardware: Option<&str>| Network {
            gateway: Some(docxy_host::platform::network::Gateway {
                address: "10.0.0.1".parse().unwrap(),
                hardware: hardware.map(str::to_owned),
            }),
            prefixes: vec!["10.0.0.0/24".into()],
        };
        let now = SystemTime::now();
        memory.store(&with(None), SERVER, Knowledge::default(), now);
        memory.store(&with(Some("02:00:00:00:00:01")), SERVER, blocked(), now);
        assert_eq!(memory.networks.len(), 1);
        memory.store(&with(None), SERVER, blocked(), now);
        assert_eq!(memory.recall(&with(Some("02:00:00:00:00:02")), SERVER, now), Knowledge::default());
    }
}
