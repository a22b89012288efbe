//! Which addresses the server may connect to on behalf of one registry.
//!
//! A registry's answers name hosts (redirects, realms), and a name can resolve to anything, also
//! to another address at each look. So the check is made on the addresses that are dialled, here,
//! and nowhere earlier.
//!
//! What the operator allowed for a registry is exempt, at the ports named: its API host, the pins of
//! its own table, and the pins of `[resolve]` where they can't be meant for another registry. What was
//! allowed for one registry must never be reached by another one's answers.

use crate::public_ip::is_public;
use crate::settings::{RegistrySettings, ResolveTo, Settings};
use docxy_protocol::name::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The port of a URL that names none, and of a host that the config names without one.
pub(super) const HTTPS_PORT: u16 = 443;

/// Why a host isn't dialled. The texts are shown to clients, so they hold no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// DNS failed.
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    /// It is known where, but that is off limits.
    #[error(
        "{host} leads to no public address at port {port}; the server's operator can allow it under \
         [registries.\"{registry}\".resolve]"
    )]
    NotPublic { host: String, port: u16, registry: Registry, address: IpAddr },
    /// DNS says nothing.
    #[error("{host} has no address")]
    NoAddress { host: String },
}

impl GuardError {
    /// The guard's own error behind one of a connection, and the address that is off limits, where it
    /// is that.
    pub(super) fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<(&'a Self, IpAddr)> {
        let chain = std::iter::successors(Some(error), |&error| error.source());
        chain.filter_map(|error| error.downcast_ref::<Self>()).find_map(|error| match error {
            Self::NotPublic { address, .. } => Some((error, *address)),
            _ => None,
        })
    }
}

/// Resolves hosts for one registry, and keeps back addresses that are not public.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    registry: Registry,
    /// Host and port of its API.
    api: Option<(String, u16)>,
    /// The pins of its own table.
    own: BTreeMap<String, ResolveTo>,
    /// The pins of `[resolve]`.
    shared: BTreeMap<String, ResolveTo>,
    /// Whether the server has no other registry, for which a shared pin could be meant.
    is_only: bool,
}

impl Guard {
    /// The guard of one of the settings' registries.
    pub(super) fn new(registry: &RegistrySettings, settings: &Settings) -> Self {
        Self(Arc::new(Rules {
            registry: registry.name.clone(),
            api: api_of(registry),
            own: registry.resolve.clone(),
            shared: settings.resolve.clone(),
            is_only: settings.registries.len() == 1,
        }))
    }

    /// Tells the operator of pins that lead to an address that no registry may reach.
    pub(super) fn warn_of_useless_pins(settings: &Settings) {
        if settings.registries.len() == 1 {
            return;
        }
        let is_api = |host: &str| settings.registries.iter().any(|entry| is_host_of(entry, host));
        for (host, to) in settings.resolve.iter().filter(|(host, to)| !is_public(to.ip) && !is_api(host)) {
            tracing::warn!(
                %host, address = %to.ip,
                "this pin of [resolve] leads to no public address, so it is refused: move it to \
                 [registries.\"NAME\".resolve] of the registry that it is for"
            );
        }
    }

    /// Hosts for which the other guard decides by other entries.
    pub(super) fn changed_hosts(&self, other: &Self) -> BTreeSet<String> {
        let (ours, theirs) = (&*self.0, &*other.0);
        let pinned = ours.pinned_hosts().chain(theirs.pinned_hosts());
        let changed = pinned.filter(|host| ours.pin(host) != theirs.pin(host));
        let apis = [&ours.api, &theirs.api].into_iter().flatten().filter(|_| ours.api != theirs.api);
        changed.chain(apis.map(|(host, _)| host)).cloned().collect()
    }

    /// Where a URL's host and port may be dialled, at this moment.
    ///
    /// # Errors
    /// Where the host has no address, or none that is public and the operator didn't allow it.
    pub(super) async fn addresses(&self, named: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let rules = &*self.0;
        let host = named.trim_matches(['[', ']']).to_ascii_lowercase();
        let pin = rules.pin(&host);
        let found = match (&pin, host.parse()) {
            (Some(pin), _) => vec![SocketAddr::new(pin.to.ip, pin.to.port.unwrap_or(port))],
            (None, Ok(literal)) => vec![SocketAddr::new(literal, port)],
            (None, Err(_)) => look_up(&host, port).await?,
        };
        let Some(first) = found.first().copied() else {
            return Err(GuardError::NoAddress { host });
        };
        if pin.is_some_and(|pin| pin.allows(port)) || rules.is_api(&host, port) {
            return Ok(found);
        }
        let public: Vec<SocketAddr> = found.into_iter().filter(|a| is_public(a.ip())).collect();
        if public.is_empty() {
            let (host, registry) = (named.to_owned(), rules.registry.clone());
            Err(GuardError::NotPublic { host, port, registry, address: first.ip() })
        } else {
            Ok(public)
        }
    }
}

/// Where a host was pinned to, and whether that may be an address that is not public.
#[derive(Debug, PartialEq, Eq)]
struct Pin {
    to: ResolveTo,
    is_exempt: bool,
}

impl Pin {
    fn allows(&self, port: u16) -> bool {
        // A port of its own stands for every one that a URL may name.
        self.is_exempt && (self.to.port.is_some() || port == HTTPS_PORT)
    }
}

impl Rules {
    fn pinned_hosts(&self) -> impl Iterator<Item = &String> {
        self.own.keys().chain(self.shared.keys())
    }

    fn pin(&self, host: &str) -> Option<Pin> {
        if let Some(to) = self.own.get(host) {
            return Some(Pin { to: *to, is_exempt: true });
        }
        let to = *self.shared.get(host)?;
        let is_own_api = self.api.as_ref().is_some_and(|(api, _)| api == host);
        Some(Pin { to, is_exempt: self.is_only || is_own_api })
    }

    fn is_api(&self, host: &str, port: u16) -> bool {
        self.api.as_ref().is_some_and(|(api, at)| api == host && *at == port)
    }
}

/// The host and port of a registry's API.
fn api_of(registry: &RegistrySettings) -> Option<(String, u16)> {
    let host = registry.api.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
    Some((host, registry.api.port_or_known_default()?))
}

fn is_host_of(registry: &RegistrySettings, host: &str) -> bool {
    api_of(registry).is_some_and(|(api, _)| api == host)
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

    /// A registry of this API, with these pins of its own.
    fn registry(name: &str, api: &str, pins: &[(&str, &str)]) -> RegistrySettings {
        let api = api.parse().unwrap();
        let name = name.parse().unwrap();
        RegistrySettings { name, api, ca: Vec::new(), account: None, resolve: table(pins) }
    }

    fn table(pins: &[(&str, &str)]) -> BTreeMap<String, ResolveTo> {
        pins.iter().map(|(host, to)| ((*host).to_owned(), to.parse().unwrap())).collect()
    }

    /// The guard of the first of these registries.
    fn guard(registries: Vec<RegistrySettings>, pins: &[(&str, &str)]) -> Guard {
        let settings = Settings {
            listen: Vec::new(),
            state: std::path::PathBuf::new(),
            public: None,
            fixed_rate_limit: "1 Gbit/s".parse().unwrap(),
            stale: false,
            log: "info".parse().unwrap(),
            registries,
            resolve: table(pins),
        };
        Guard::new(&settings.registries[0], &settings)
    }

    #[test]
    fn what_changes_between_two_guards_is_the_hosts_whose_entries_differ() {
        let pins = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:443"), ("c.io", "10.0.0.3")];
        let (own, api) = ([("auth.io", "10.0.0.9")], "https://r.io");
        let old = guard(vec![registry("r.io", api, &own)], &pins);
        let moved = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:8443"), ("d.io", "10.0.0.3")];
        let new = guard(vec![registry("r.io", "https://r.io:8443", &[])], &moved);
        let changed: Vec<String> = old.changed_hosts(&new).into_iter().collect();
        assert_eq!(changed, ["auth.io", "b.io", "c.io", "d.io", "r.io"]);
        assert_eq!(old.changed_hosts(&new), new.changed_hosts(&old));
        assert!(old.changed_hosts(&old.clone()).is_empty());
        // With a second registry a shared pin is no exemption any more.
        let two = guard(vec![registry("r.io", api, &own), registry("s.io", "https://s.io", &[])], &pins);
        assert_eq!(old.changed_hosts(&two).len(), 3);
    }

    async fn dialled(guard: &Guard, host: &str, port: u16) -> Option<String> {
        match guard.addresses(host, port).await {
            Ok(addresses) => Some(addresses[0].to_string()),
            Err(error @ GuardError::NotPublic { .. }) => {
                let text = error.to_string();
                let address = GuardError::refusal(&error).unwrap().1.to_string();
                assert!(host.contains(&address) || !text.contains(&address), "{text}");
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_address_is_checked_whether_it_was_looked_up_or_spelt_out() {
        let guard = guard(vec![registry("r.io", "https://r.io", &[])], &[]);
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"] {
            assert_eq!(dialled(&guard, host, 443).await, None, "{host}");
        }
        assert_eq!(dialled(&guard, "1.1.1.1", 8443).await.unwrap(), "1.1.1.1:8443");
        assert_eq!(dialled(&guard, "[2606:4700::1]", 443).await.unwrap(), "[2606:4700::1]:443");
    }

    #[tokio::test]
    async fn a_registrys_own_api_is_exempt_at_its_port_and_no_other_registrys_is() {
        let ours = || registry("r.io", "https://LocalHost:5000", &[]);
        let theirs = || registry("s.io", "https://127.0.0.2", &[]);
        let first = guard(vec![ours(), theirs()], &[]);
        assert!(dialled(&first, "localhost", 5000).await.is_some());
        assert_eq!(dialled(&first, "localhost", 22).await, None);
        assert_eq!(dialled(&first, "localhost", 443).await, None);
        assert_eq!(dialled(&first, "127.0.0.2", 443).await, None);
        let second = guard(vec![theirs(), ours()], &[]);
        assert!(dialled(&second, "127.0.0.2", 443).await.is_some());
        assert_eq!(dialled(&second, "127.0.0.2", 5000).await, None);
        assert_eq!(dialled(&second, "localhost", 5000).await, None);
    }

    #[tokio::test]
    async fn a_pin_is_exempt_at_the_ports_that_it_names() {
        let pins = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:8443"), ("c.io", "1.1.1.1")];
        let shared = guard(vec![registry("r.io", "https://a.io:5000", &[])], &pins);
        let own = guard(
            vec![registry("r.io", "https://a.io:5000", &pins), registry("s.io", "https://s.io", &[])],
            &[("b.io", "10.9.9.9")],
        );
        for guard in [shared, own] {
            assert_eq!(dialled(&guard, "A.io", 443).await.unwrap(), "10.0.0.1:443");
            assert_eq!(dialled(&guard, "a.io", 5000).await.unwrap(), "10.0.0.1:5000");
            assert_eq!(dialled(&guard, "a.io", 22).await, None);
            // The pin's port stands for every one that a URL may name.
            assert_eq!(dialled(&guard, "b.io", 22).await.unwrap(), "10.0.0.2:8443");
            // Where a pin is public, there is nothing to keep back.
            assert_eq!(dialled(&guard, "c.io", 8443).await.unwrap(), "1.1.1.1:8443");
        }
    }

    #[tokio::test]
    async fn a_shared_pin_into_the_servers_network_is_for_the_registry_whose_api_it_is() {
        let pins =
            [("r.io", "10.0.0.1"), ("s.io", "10.0.0.2"), ("cdn.io", "10.0.0.3"), ("public.io", "1.1.1.1")];
        let ours = registry("r.io", "https://r.io", &[]);
        let theirs = registry("s.io", "https://s.io", &[("127.0.0.9", "1.1.1.1")]);
        let guard = guard(vec![ours, theirs], &pins);
        assert_eq!(dialled(&guard, "r.io", 443).await.unwrap(), "10.0.0.1:443");
        assert_eq!(dialled(&guard, "public.io", 443).await.unwrap(), "1.1.1.1:443");
        for host in ["s.io", "cdn.io"] {
            assert_eq!(dialled(&guard, host, 443).await, None, "{host}");
        }
        // Another registry's own table is not even looked at.
        assert_eq!(dialled(&guard, "127.0.0.9", 443).await, None);
    }
}
