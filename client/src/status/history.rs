//! The bytes of each second.

use crate::gateway::ServerReport;
use std::collections::{HashMap, VecDeque};

/// Seconds that are kept: ten minutes.
const SECONDS: usize = 600;

/// The bytes that arrived in each of the last seconds.
#[derive(Debug, Default)]
pub(super) struct History {
    seconds: VecDeque<u64>,
    /// The bytes that each session had received a second ago, by its server and address.
    before: HashMap<String, u64>,
}

impl History {
    /// A second has passed. The first bytes of a new session are counted with its next second.
    pub(super) fn sample(&mut self, servers: &[ServerReport]) {
        let session = |server: &ServerReport| {
            let (address, received) = server.address.zip(server.bytes_received)?;
            Some((format!("{} {address} {:?}", server.server, server.leg), received))
        };
        let now: HashMap<_, _> = servers.iter().filter_map(session).collect();
        let more = |(name, received): (&String, &u64)| match self.before.get(name) {
            Some(before) => received.checked_sub(*before).unwrap_or(*received),
            None => 0,
        };
        let bytes = now.iter().map(more).sum();
        self.before = now;
        if self.seconds.len() >= SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.push_back(bytes);
    }

    /// The seconds, oldest first.
    pub(super) fn seconds(&self) -> Vec<u64> {
        self.seconds.iter().copied().collect()
    }
}
