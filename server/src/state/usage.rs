//! The usage of each client, counted while the server runs and stored across restarts.
//!
//! Counting must never wait for the disk, and a file that cannot be written must never stop a transfer.

use super::clients::{ClientList, to_the_second};
use super::directory::{State, read_toml};
use super::error::StateError;
use docxy_host::files::private_file;
use docxy_host::trouble::Trouble;
use docxy_protocol::link::ClientName;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often the usage is written. A crash of the machine may lose so much.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);

/// The totals by client, as the file holds them.
pub type StoredUsages = BTreeMap<ClientName, StoredUsage>;

/// What one client has used since it was invited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredUsage {
    /// When it was last connected, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Bytes that the server sent to it.
    pub sent: u64,
    /// Bytes that the server received from it.
    pub received: u64,
}

impl StoredUsage {
    /// The same for the client that was invited at this time. What was counted before it is another's, who had its name.
    #[must_use]
    pub fn since(self, invited: Timestamp) -> Self {
        if self.last_seen.is_some_and(|seen| seen < invited) { Self::default() } else { self }
    }
}

/// The counters of all clients. Clones count together.
#[derive(Debug, Clone)]
pub struct Usage(Arc<UsageTable>);

#[derive(Debug)]
struct UsageTable {
    path: PathBuf,
    clients: Mutex<BTreeMap<ClientName, Arc<ClientUsage>>>,
    written: Mutex<StoredUsages>,
}

impl Usage {
    /// Reads the totals so far, and writes them regularly until the last clone is dropped. Needs a running
    /// runtime and the [lock](State::lock_for_run): two processes would overwrite each other's counts.
    ///
    /// # Errors
    /// If the totals so far cannot be read.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let usage = Self::load(path(state))?;
        tokio::spawn(flush_regularly(Arc::downgrade(&usage.0), state.clone()));
        Ok(usage)
    }

    fn load(path: PathBuf) -> Result<Self, StateError> {
        let written = load(&path)?;
        let usage = |total: &StoredUsage| Arc::new(ClientUsage(Mutex::new(*total)));
        let clients = written.iter().map(|(name, total)| (name.clone(), usage(total))).collect();
        Ok(Self(Arc::new(UsageTable { path, clients: Mutex::new(clients), written: Mutex::new(written) })))
    }

    /// The counters of one client. Call it only for authenticated clients, because each name gets an entry.
    #[must_use]
    pub fn client(&self, name: &ClientName) -> Arc<ClientUsage> {
        Arc::clone(self.0.clients.lock().entry(name.clone()).or_default())
    }

    /// The current totals.
    #[must_use]
    pub fn totals(&self) -> StoredUsages {
        self.0.clients.lock().iter().map(|(name, usage)| (name.clone(), usage.total())).collect()
    }

    /// Forgets what was counted before a client of the same name was invited.
    pub(super) fn forget_predecessors(&self, list: &ClientList) {
        for (name, client) in list.iter() {
            let is_new = |usage: &Arc<ClientUsage>| {
                let total = usage.total();
                total.since(client.created) != total
            };
            let mut clients = self.0.clients.lock();
            if clients.get(name).is_some_and(is_new) {
                clients.remove(name);
            }
        }
    }

    /// The same for those whose names were invited again between two lists. Connections of the earlier clients, which are
    /// being closed, count no more.
    pub(super) fn forget_replaced(&self, before: &ClientList, after: &ClientList) {
        for name in before.replaced_in(after) {
            self.0.clients.lock().remove(name);
        }
    }

    /// Writes the totals if they have changed since the last write. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the file cannot be written; they are written the next time.
    pub fn flush(&self) -> Result<(), StateError> {
        let UsageTable { path, written, .. } = &*self.0;
        let mut written = written.lock();
        let totals = self.totals();
        if totals != *written {
            private_file::write(path, to_text(&totals).as_bytes())?;
            *written = totals;
        }
        Ok(())
    }
}

/// The totals that the running server has last written; empty if there are none yet.
///
/// # Errors
/// If the file cannot be read.
pub fn totals(state: &State) -> Result<StoredUsages, StateError> {
    load(&path(state))
}

/// The counters of one client, shared by all its connections.
#[derive(Debug, Default)]
pub struct ClientUsage(Mutex<StoredUsage>);

impl ClientUsage {
    /// Records that the client is connected.
    pub fn seen(&self, now: Timestamp) {
        let mut usage = self.0.lock();
        usage.last_seen = usage.last_seen.max(Some(to_the_second(now)));
    }

    /// Adds bytes that were sent to the client.
    pub fn add_sent(&self, bytes: u64) {
        self.0.lock().sent += bytes;
    }

    /// Adds bytes that were received from the client.
    pub fn add_received(&self, bytes: u64) {
        self.0.lock().received += bytes;
    }

    /// The current totals.
    #[must_use]
    pub fn total(&self) -> StoredUsage {
        *self.0.lock()
    }
}

fn path(state: &State) -> PathBuf {
    state.path("usage")
}

fn load(path: &Path) -> Result<StoredUsages, StateError> {
    read_toml(path, "fix that line, or delete the file to count from zero")
}

fn to_text(totals: &StoredUsages) -> String {
    let tables = toml::to_string(totals).expect("names, times and counts below 8 EiB are TOML");
    format!("# Written by `docxy-server run`; sent and received are bytes, seen by the server.\n\n{tables}")
}

async fn flush_regularly(table: Weak<UsageTable>, state: State) {
    let mut trouble = Trouble::default();
    loop {
        tokio::time::sleep(WRITE_INTERVAL).await;
        let Some(table) = table.upgrade() else { return };
        let state = state.clone();
        let flush = move || {
            // It may have been used up by a revocation when there was no room for another.
            state.ensure_reserve();
            Usage(table).flush()
        };
        let outcome = tokio::task::spawn_blocking(flush).await;
        match outcome {
            Ok(Err(error)) if trouble.begin(Instant::now()) => {
                tracing::warn!(%error, "the usage of clients cannot be written");
            }
            Ok(Ok(())) if trouble.end(Instant::now()).is_some() => {
                tracing::info!("the usage of clients is written again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::ClientSecret;

    fn open(dir: &tempfile::TempDir) -> Usage {
        Usage::load(dir.path().join("usage")).unwrap()
    }

    #[test]
    fn usage_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let name = "laptop".parse().unwrap();
        let time: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
        for n in 1..=2 {
            let usage = open(&dir);
            usage.client(&name).seen(time);
            usage.client(&name).add_sent(1000);
            usage.client(&name).add_received(10);
            usage.flush().unwrap();
            let expected = StoredUsage { last_seen: Some(time), sent: 1000 * n, received: 10 * n };
            assert_eq!(load(&usage.0.path).unwrap()[&name], expected);
        }
    }

    #[test]
    fn a_name_that_is_invited_again_begins_at_zero() {
        let dir = tempfile::tempdir().unwrap();
        let (usage, name) = (open(&dir), "laptop".parse().unwrap());
        let time = |text: &str| -> Timestamp { text.parse().unwrap() };
        let list = |secret, created| {
            let mut list = ClientList::default();
            list.add(&name, &ClientSecret::from_random([secret; 32]), created).unwrap();
            list
        };
        let noon = time("2026-11-24T12:00:00Z");
        let (before, after) = (list(1, noon), list(2, noon));
        let connected = usage.client(&name);
        connected.seen(time("2026-11-24T12:30:00Z"));
        connected.add_sent(5);
        usage.forget_replaced(&before, &before);
        usage.forget_predecessors(&before);
        assert_eq!(usage.totals()[&name].sent, 5);
        // Also within a second.
        usage.forget_replaced(&before, &after);
        connected.add_sent(5);
        assert_eq!(usage.client(&name).total(), StoredUsage::default());
        // While no server ran.
        usage.client(&name).seen(noon);
        usage.client(&name).add_sent(5);
        usage.forget_predecessors(&list(3, time("2026-11-24T12:00:01Z")));
        assert_eq!(usage.client(&name).total(), StoredUsage::default());
    }

    #[test]
    fn a_server_at_rest_does_not_touch_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let usage = open(&dir);
        usage.flush().unwrap();
        assert!(!usage.0.path.exists());
        usage.client(&"laptop".parse().unwrap()).add_sent(1);
        usage.flush().unwrap();
        std::fs::remove_file(&usage.0.path).unwrap();
        usage.flush().unwrap();
        assert!(!usage.0.path.exists());
    }

    #[test]
    fn totals_are_kept_while_the_disk_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone/usage");
        let usage = Usage::load(path.clone()).unwrap();
        usage.client(&"laptop".parse().unwrap()).add_sent(5);
        assert!(usage.flush().is_err());
        std::fs::create_dir(dir.path().join("gone")).unwrap();
        usage.flush().unwrap();
        assert_eq!(load(&path).unwrap().values().next().unwrap().sent, 5);
    }
}
