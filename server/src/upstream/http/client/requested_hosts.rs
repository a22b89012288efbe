//! The hosts that a connection pool has sent requests to, so that new settings replace the pool only if
//! one of its connections may lead to a changed host.
//!
//! Must stay small, because a registry chooses the hosts that it redirects to.

use std::collections::BTreeSet;

/// Maximum number of hosts in the set. A registry has a token service and a few CDNs.
const REQUESTED_HOSTS_MAX: usize = 64;

/// A set of hosts. Once it is full, it counts as containing every host.
#[derive(Debug, Default)]
pub(super) struct RequestedHosts {
    hosts: BTreeSet<String>,
    is_full: bool,
}

impl RequestedHosts {
    /// Records that a request was sent to this host.
    pub(super) fn insert(&mut self, host: &str) {
        let host = key(host);
        if self.hosts.len() < REQUESTED_HOSTS_MAX || self.hosts.contains(&host) {
            self.hosts.insert(host);
        } else {
            self.is_full = true;
        }
    }

    /// Whether a request may have been sent to this host.
    pub(super) fn contains(&self, host: &str) -> bool {
        self.is_full || self.hosts.contains(&key(host))
    }
}

/// A host in the form that the address guard uses.
fn key(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_as_requested_after_a_request_or_once_the_set_is_full() {
        let mut requested = RequestedHosts::default();
        requested.insert("CDN.example");
        requested.insert("[::1]");
        assert!(
            requested.contains("cdn.example")
                && requested.contains("::1")
                && !requested.contains("other.example")
        );
        for n in 0..REQUESTED_HOSTS_MAX {
            requested.insert(&format!("{n}.example"));
        }
        assert!(requested.contains("other.example"));
    }
}
