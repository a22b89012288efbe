//! The hosts that a pool of connections has been asked for, so that a change of the settings ends
//! the connections only where one of them may lead somewhere else now.
//!
//! Must stay small: registries choose where they redirect to.

use std::collections::BTreeSet;

/// Hosts that are remembered. A registry has a token service and a few CDNs.
const MOST: usize = 64;

/// A set that, once there are too many, holds every host.
#[derive(Debug, Default)]
pub(super) struct AskedHosts {
    hosts: BTreeSet<String>,
    too_many: bool,
}

impl AskedHosts {
    /// Notes that this host was asked.
    pub(super) fn insert(&mut self, host: &str) {
        let host = key(host);
        if self.hosts.len() < MOST || self.hosts.contains(&host) {
            self.hosts.insert(host);
        } else {
            self.too_many = true;
        }
    }

    /// Whether this host may have been asked.
    pub(super) fn contains(&self, host: &str) -> bool {
        self.too_many || self.hosts.contains(&key(host))
    }
}

/// A host as the guard looks it up.
fn key(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_as_asked_once_it_was_or_when_too_many_were() {
        let mut asked = AskedHosts::default();
        asked.insert("CDN.example");
        asked.insert("[::1]");
        assert!(asked.contains("cdn.example") && asked.contains("::1") && !asked.contains("other.example"));
        for n in 0..MOST {
            asked.insert(&format!("{n}.example"));
        }
        assert!(asked.contains("other.example"));
    }
}
