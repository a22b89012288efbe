//! Which addresses the server may connect to.
//!
//! A registry's answers name hosts (redirects, realms), and a name can resolve to anything, also
//! to another address at each look. So the check is made on the addresses that are dialled, here,
//! and nowhere earlier. What the operator named in the config is exempt, at the ports named there.

use crate::public_ip::is_public;
use crate::settings::ResolveTo;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The port of a URL that names none, and of a host that the config names without one.
pub(super) const HTTPS_PORT: u16 = 443;

/// Why a host isn't dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// DNS failed.
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    /// It is known where, but that is off limits.
    #[error(
        "{host}:{port} leads to {address}, which is no public address; name it under [registries] or \
         [resolve] if that is meant"
    )]
    NotPublic { host: String, port: u16, address: IpAddr },
    /// DNS says nothing.
    #[error("{host} has no address")]
    NoAddress { host: String },
}

impl GuardError {
    /// Whether an error comes from an address that is off limits.
    pub(super) fn is_refusal(error: &(dyn Error + 'static)) -> bool {
        std::iter::successors(Some(error), |&error| error.source())
            .any(|error| matches!(error.downcast_ref(), Some(Self::NotPublic { .. })))
    }
}

/// Resolves hosts, and keeps back addresses that are not public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guard {
    pinned: Arc<BTreeMap<String, ResolveTo>>,
    named: Arc<BTreeSet<(String, u16)>>,
}

impl Guard {
    /// `pinned`: the config's `[resolve]`; `named`: hosts and ports of the config's registries.
    pub(super) fn new(pinned: BTreeMap<String, ResolveTo>, named: BTreeSet<(String, u16)>) -> Self {
        Self { pinned: Arc::new(pinned), named: Arc::new(named) }
    }

    /// Hosts for which the other guard decides by other entries.
    pub(super) fn changed_hosts(&self, other: &Self) -> BTreeSet<String> {
        let pinned = |of: &Self, than: &Self| {
            let changed = of.pinned.iter().filter(|(host, to)| than.pinned.get(*host) != Some(*to));
            changed.map(|(host, _)| host.clone()).collect::<Vec<_>>()
        };
        let named = self.named.symmetric_difference(&other.named).map(|(host, _)| host.clone());
        named.chain(pinned(self, other)).chain(pinned(other, self)).collect()
    }

    /// Where a URL's host and port may be dialled, at this moment.
    ///
    /// # Errors
    /// Where the host has no address, or none that is public and the operator didn't name it.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let pin = self.pinned.get(&host);
        let found = match (pin, host.parse()) {
            (Some(to), _) => vec![SocketAddr::new(to.ip, to.port.unwrap_or(port))],
            (None, Ok(literal)) => vec![SocketAddr::new(literal, port)],
            (None, Err(_)) => look_up(&host, port).await?,
        };
        let Some(first) = found.first().copied() else {
            return Err(GuardError::NoAddress { host });
        };
        let meant = match pin {
            Some(ResolveTo { port: Some(_), .. }) => true,
            Some(ResolveTo { port: None, .. }) => port == HTTPS_PORT,
            None => false,
        };
        if meant || self.named.contains(&(host.clone(), port)) {
            return Ok(found);
        }
        let public: Vec<SocketAddr> = found.into_iter().filter(|a| is_public(a.ip())).collect();
        if public.is_empty() {
            Err(GuardError::NotPublic { host, port, address: first.ip() })
        } else {
            Ok(public)
        }
    }
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(source) => Err(GuardError::Resolve { host: host.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(pinned: &[(&str, &str, Option<u16>)], named: &[(&str, u16)]) -> Guard {
        let pin = |(host, ip, port): &(&str, &str, Option<u16>)| {
            ((*host).to_owned(), ResolveTo { ip: ip.parse().unwrap(), port: *port })
        };
        let name = |(host, port): &(&str, u16)| ((*host).to_owned(), *port);
        Guard::new(pinned.iter().map(pin).collect(), named.iter().map(name).collect())
    }

    #[test]
    fn what_changes_between_two_guards_is_the_hosts_whose_entries_differ() {
        let pins = [("a.io", "10.0.0.1", None), ("b.io", "10.0.0.2", Some(443)), ("c.io", "10.0.0.3", None)];
        let old = guard(&pins, &[("r.io", 443), ("s.io", 443)]);
        let mut moved = pins;
        moved[1].2 = Some(8443);
        moved[2].0 = "d.io";
        let new = guard(&moved, &[("r.io", 443), ("s.io", 8443)]);
        let changed: Vec<String> = old.changed_hosts(&new).into_iter().collect();
        assert_eq!(changed, ["b.io", "c.io", "d.io", "s.io"]);
        assert_eq!(old.changed_hosts(&new), new.changed_hosts(&old));
        assert!(old.changed_hosts(&old.clone()).is_empty());
    }

    async fn dialled(guard: &Guard, host: &str, port: u16) -> Option<String> {
        match guard.addresses(host, port).await {
            Ok(addresses) => Some(addresses[0].to_string()),
            Err(GuardError::NotPublic { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_address_is_checked_whether_it_was_looked_up_or_spelt_out() {
        let guard = guard(&[], &[]);
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"] {
            assert_eq!(dialled(&guard, host, 443).await, None, "{host}");
        }
        assert_eq!(dialled(&guard, "1.1.1.1", 8443).await.unwrap(), "1.1.1.1:8443");
        assert_eq!(dialled(&guard, "[2606:4700::1]", 443).await.unwrap(), "[2606:4700::1]:443");
    }

    #[tokio::test]
    async fn what_the_operator_named_is_exempt_at_the_ports_named_and_no_others() {
        let registries = guard(&[], &[("localhost", 5000), ("127.0.0.2", 443)]);
        assert!(dialled(&registries, "LocalHost", 5000).await.is_some());
        assert_eq!(dialled(&registries, "localhost", 22).await, None);
        assert_eq!(dialled(&registries, "localhost", 443).await, None);
        assert!(dialled(&registries, "127.0.0.2", 443).await.is_some());
        assert_eq!(dialled(&registries, "127.0.0.2", 5000).await, None);

        let pinned =
            guard(&[("a.io", "10.0.0.1", None), ("b.io", "10.0.0.2", Some(8443))], &[("a.io", 5000)]);
        assert_eq!(dialled(&pinned, "a.io", 443).await.unwrap(), "10.0.0.1:443");
        assert_eq!(dialled(&pinned, "a.io", 5000).await.unwrap(), "10.0.0.1:5000");
        assert_eq!(dialled(&pinned, "a.io", 22).await, None);
        // The pin's port stands for every one that a URL may name.
        assert_eq!(dialled(&pinned, "b.io", 22).await.unwrap(), "10.0.0.2:8443");
        // Where a pin is public, there is nothing to keep back.
        let public = guard(&[("c.io", "1.1.1.1", None)], &[]);
        assert_eq!(dialled(&public, "c.io", 8443).await.unwrap(), "1.1.1.1:8443");
    }
}
