//! Which addresses the server may connect to on behalf of one registry.
//!
//! A registry's responses name hosts (redirects, realms), and a name can resolve to any address, and to a
//! different one at each lookup. So the addresses that are dialed are checked, here and nowhere earlier.
//!
//! Addresses that the operator configured for a registry are exempt, at the configured ports: its API
//! host, the entries of its own `resolve` table, and the entries of `[resolve]` that cannot be meant for
//! another registry. An address that is allowed for one registry must never be reached through another
//! registry's responses, nor because a stranger on the internet names it.
//!
//! With a proxy, the server checks the addresses too, and the proxy gets the address. Only the registry's own API host
//! and the operator's `allow_hosts` may be left to the proxy by name.

use crate::address::public_ip::is_public;
use crate::settings::{ProxySettings, RegistrySettings, Settings, StaticAddress};
use docxy_protocol::name::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use url::Origin;

/// The port of a URL that names none, and of a host that the config names without one.
pub(crate) const HTTPS_PORT: u16 = 443;

/// Why a host is not dialed. Clients receive these texts, so they must not contain an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// DNS failed.
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    /// All of its addresses are outside the public internet.
    #[error(
        "{host} leads to no public address at port {port}; the server's operator can allow it under \
         [registries.\"{registry}\".resolve]"
    )]
    NotPublic { host: String, port: u16, registry: Registry, address: IpAddr },
    /// DNS failed, and the host must not be left to the proxy.
    #[error(
        "{host} cannot be resolved by the server; its operator can leave that to the proxy by [proxy] allow_hosts"
    )]
    ResolveForProxy { host: String, source: std::io::Error },
    /// DNS returned no address.
    #[error("{host} has no address")]
    NoAddress { host: String },
}

/// Resolves hosts for one registry, and removes addresses that are not public.
#[derive(Debug, Clone)]
pub(crate) struct AddressGuard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    registry: Registry,
    /// The host and port of its API.
    api: Option<(String, u16)>,
    /// The registry's own `resolve` table.
    own: BTreeMap<String, StaticAddress>,
    /// The table `[resolve]`.
    shared: BTreeMap<String, StaticAddress>,
    /// Whether this is the server's only registry, so that all of `[resolve]` is meant for it.
    is_only: bool,
    proxy: Option<ProxySettings>,
}

impl AddressGuard {
    /// The guard for one registry of the settings.
    pub(crate) fn new(registry: &RegistrySettings, settings: &Settings) -> Self {
        Self(Arc::new(Rules {
            registry: registry.name.clone(),
            api: api_of(registry),
            own: registry.resolve.clone(),
            shared: settings.resolve.clone(),
            is_only: settings.registries.len() == 1,
            proxy: settings.proxy.clone(),
        }))
    }

    /// The same addresses of configured hosts, but without an exemption for any that is not public.
    pub(crate) fn without_exemptions(&self) -> Self {
        let rules = &*self.0;
        let mut shared = rules.shared.clone();
        shared.extend(rules.own.clone());
        let (registry, proxy) = (rules.registry.clone(), rules.proxy.clone());
        Self(Arc::new(Rules { registry, api: None, own: BTreeMap::new(), shared, is_only: false, proxy }))
    }

    /// The proxy through which hosts are reached, if any.
    pub(crate) fn proxy(&self) -> Option<&ProxySettings> {
        self.0.proxy.as_ref()
    }

    /// Whether the proxy may resolve a URL's host, for a connection to this port.
    pub(crate) fn allows_by_name(&self, url_host: &str, port: u16) -> bool {
        let rules = &*self.0;
        let host = url_host.to_ascii_lowercase();
        // The proxy would reach another address than the configured one.
        let is_name = host.parse::<IpAddr>().is_err() && rules.configured(&host).is_none();
        let is_allowed = || {
            let allowed = rules.proxy.iter().flat_map(|proxy| &proxy.allow_hosts);
            port == HTTPS_PORT && allowed.into_iter().any(|pattern| pattern.includes(&host))
        };
        is_name && (rules.is_api(&host, port) || is_allowed())
    }

    /// Whether the operator has exempted the private address of this origin for the registry, so that it is no
    /// stranger.
    pub(crate) fn exempts(&self, origin: &Origin) -> bool {
        let Origin::Tuple(_, host, port) = origin else { return false };
        let host = host.to_string().trim_matches(['[', ']']).to_ascii_lowercase();
        let entry = self.0.configured(&host);
        entry.is_some_and(|entry| entry.allows(*port) && !is_public(entry.to.ip))
    }

    /// Warns the operator of entries in `[resolve]` whose address no registry may reach.
    pub(crate) fn warn_of_unusable_entries(settings: &Settings) {
        if settings.registries.len() == 1 {
            return;
        }
        let is_api = |host: &str| settings.registries.iter().any(|entry| is_host_of(entry, host));
        for (host, to) in settings.resolve.iter().filter(|(host, to)| !is_public(to.ip) && !is_api(host)) {
            tracing::warn!(
                %host, address = %to.ip,
                "this entry of [resolve] is not a public address, so it is refused: move it to \
                 [registries.\"NAME\".resolve] of the registry that it is for"
            );
        }
    }

    /// The hosts for which the other guard has other entries.
    pub(crate) fn changed_hosts(&self, other: &Self) -> BTreeSet<String> {
        let (ours, theirs) = (&*self.0, &*other.0);
        let hosts = ours.configured_hosts().chain(theirs.configured_hosts());
        let changed = hosts.filter(|host| ours.configured(host) != theirs.configured(host));
        let apis = [&ours.api, &theirs.api].into_iter().flatten().filter(|_| ours.api != theirs.api);
        changed.chain(apis.map(|(host, _)| host)).cloned().collect()
    }

    /// The addresses at which a URL's host and port may be dialed now.
    ///
    /// # Errors
    /// If the host has no address, or only addresses that are neither public nor allowed by the operator.
    pub(crate) async fn addresses(&self, url_host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let rules = &*self.0;
        let host = url_host.trim_matches(['[', ']']).to_ascii_lowercase();
        let configured = rules.configured(&host);
        let found = match (&configured, host.parse()) {
            (Some(entry), _) => vec![SocketAddr::new(entry.to.ip, entry.to.port.unwrap_or(port))],
            (None, Ok(literal)) => vec![SocketAddr::new(literal, port)],
            (None, Err(_)) => resolve(&host, port).await?,
        };
        let Some(first) = found.first().copied() else {
            return Err(GuardError::NoAddress { host });
        };
        if configured.is_some_and(|entry| entry.allows(port)) || rules.is_api(&host, port) {
            return Ok(found);
        }
        let public: Vec<SocketAddr> = found.into_iter().filter(|a| is_public(a.ip())).collect();
        if public.is_empty() {
            // A client must not learn an address that a registry names in its own network.
            let is_literal = host.parse::<IpAddr>().is_ok();
            let host = if is_literal { "the address of a redirect".to_owned() } else { url_host.to_owned() };
            let registry = rules.registry.clone();
            Err(GuardError::NotPublic { host, port, registry, address: first.ip() })
        } else {
            Ok(public)
        }
    }
}

/// The configured address of a host, and whether it may be one that is not public.
#[derive(Debug, PartialEq, Eq)]
struct ConfiguredAddress {
    to: StaticAddress,
    is_exempt: bool,
}

impl ConfiguredAddress {
    fn allows(&self, port: u16) -> bool {
        // An entry with a port replaces every port that a URL may name.
        self.is_exempt && (self.to.port.is_some() || port == HTTPS_PORT)
    }
}

impl Rules {
    fn configured_hosts(&self) -> impl Iterator<Item = &String> {
        self.own.keys().chain(self.shared.keys())
    }

    fn configured(&self, host: &str) -> Option<ConfiguredAddress> {
        if let Some(to) = self.own.get(host) {
            return Some(ConfiguredAddress { to: *to, is_exempt: true });
        }
        let to = *self.shared.get(host)?;
        let is_own_api = self.api.as_ref().is_some_and(|(api, _)| api == host);
        Some(ConfiguredAddress { to, is_exempt: self.is_only || is_own_api })
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

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(source) => Err(GuardError::Resolve { host: host.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::CommonSettings;
    use docxy_host::net::proxy::ProxyRules;

    /// A registry of this API, with this `resolve` table.
    fn registry(name: &str, api: &str, entries: &[(&str, &str)]) -> RegistrySettings {
        let api = api.parse().unwrap();
        let name = name.parse().unwrap();
        RegistrySettings { name, api, ca: Vec::new(), account: None, resolve: table(entries) }
    }

    fn table(entries: &[(&str, &str)]) -> BTreeMap<String, StaticAddress> {
        entries
            .iter()
            .map(|(host, to)| ((*host).to_owned(), StaticAddress::try_from((*to).to_owned()).unwrap()))
            .collect()
    }

    /// The guard of the first of these registries.
    fn guard(registries: Vec<RegistrySettings>, entries: &[(&str, &str)]) -> AddressGuard {
        guard_with_proxy(registries, entries, None)
    }

    fn guard_with_proxy(
        registries: Vec<RegistrySettings>,
        entries: &[(&str, &str)],
        proxy: Option<ProxySettings>,
    ) -> AddressGuard {
        let settings = Settings {
            layer_cache: None,
            common: CommonSettings::default(),
            fixed_rate_limit: "1 Gbit/s".parse().unwrap(),
            client_max_rate: None,
            stale: false,
            handover: false,
            log: "info".parse().unwrap(),
            admin: Vec::new(),
            log_format: docxy_host::logging::LogFormat::Text,
            log_images: false,
            registries,
            rules: crate::settings::RepositoryRules::default(),
            resolve: table(entries),
            proxy,
            tls: None,
        };
        AddressGuard::new(&settings.registries[0], &settings)
    }

    #[test]
    fn changed_hosts_are_those_whose_entries_differ() {
        let entries = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:443"), ("c.io", "10.0.0.3")];
        let (own, api) = ([("auth.io", "10.0.0.9")], "https://r.io");
        let old = guard(vec![registry("r.io", api, &own)], &entries);
        let moved = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:8443"), ("d.io", "10.0.0.3")];
        let new = guard(vec![registry("r.io", "https://r.io:8443", &[])], &moved);
        let changed: Vec<String> = old.changed_hosts(&new).into_iter().collect();
        assert_eq!(changed, ["auth.io", "b.io", "c.io", "d.io", "r.io"]);
        assert_eq!(old.changed_hosts(&new), new.changed_hosts(&old));
        assert!(old.changed_hosts(&old.clone()).is_empty());
        // With a second registry, a shared entry is no exemption.
        let two = guard(vec![registry("r.io", api, &own), registry("s.io", "https://s.io", &[])], &entries);
        assert_eq!(old.changed_hosts(&two).len(), 3);
    }

    async fn dialed(guard: &AddressGuard, host: &str, port: u16) -> Option<String> {
        match guard.addresses(host, port).await {
            Ok(addresses) => Some(addresses[0].to_string()),
            Err(error @ GuardError::NotPublic { address, .. }) => {
                let text = error.to_string();
                assert!(!text.contains(&address.to_string()), "{text}");
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_address_is_checked_whether_it_was_looked_up_or_spelt_out() {
        let guard = guard(vec![registry("r.io", "https://r.io", &[])], &[]);
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"] {
            assert_eq!(dialed(&guard, host, 443).await, None, "{host}");
        }
        assert_eq!(dialed(&guard, "1.1.1.1", 8443).await.unwrap(), "1.1.1.1:8443");
        assert_eq!(dialed(&guard, "[2606:4700::1]", 443).await.unwrap(), "[2606:4700::1]:443");
    }

    #[tokio::test]
    async fn a_registrys_own_api_is_exempt_at_its_port_and_no_other_registrys_is() {
        let ours = || registry("r.io", "https://LocalHost:5000", &[]);
        let theirs = || registry("s.io", "https://127.0.0.2", &[]);
        let first = guard(vec![ours(), theirs()], &[]);
        assert!(dialed(&first, "localhost", 5000).await.is_some());
        assert_eq!(dialed(&first, "localhost", 22).await, None);
        assert_eq!(dialed(&first, "localhost", 443).await, None);
        assert_eq!(dialed(&first, "127.0.0.2", 443).await, None);
        let second = guard(vec![theirs(), ours()], &[]);
        assert!(dialed(&second, "127.0.0.2", 443).await.is_some());
        assert_eq!(dialed(&second, "127.0.0.2", 5000).await, None);
        assert_eq!(dialed(&second, "localhost", 5000).await, None);
    }

    #[tokio::test]
    async fn a_resolve_entry_is_exempt_at_its_ports() {
        let entries = [("a.io", "10.0.0.1"), ("b.io", "10.0.0.2:8443"), ("c.io", "1.1.1.1")];
        let shared = guard(vec![registry("r.io", "https://a.io:5000", &[])], &entries);
        let own = guard(
            vec![registry("r.io", "https://a.io:5000", &entries), registry("s.io", "https://s.io", &[])],
            &[("b.io", "10.9.9.9")],
        );
        for guard in [shared, own] {
            assert_eq!(dialed(&guard, "A.io", 443).await.unwrap(), "10.0.0.1:443");
            assert_eq!(dialed(&guard, "a.io", 5000).await.unwrap(), "10.0.0.1:5000");
            assert_eq!(dialed(&guard, "a.io", 22).await, None);
            // The entry's port replaces every port that a URL may name.
            assert_eq!(dialed(&guard, "b.io", 22).await.unwrap(), "10.0.0.2:8443");
            // A public address needs no exemption.
            assert_eq!(dialed(&guard, "c.io", 8443).await.unwrap(), "1.1.1.1:8443");
        }
    }

    #[tokio::test]
    async fn without_exemptions_configured_addresses_stay_and_private_ones_are_refused() {
        let own = [("b.io", "10.0.0.2:8443"), ("c.io", "1.1.1.1")];
        let guard = guard(vec![registry("r.io", "https://a.io", &own)], &[("a.io", "10.0.0.1")]);
        let plain = guard.without_exemptions();
        for host in ["a.io", "b.io"] {
            assert!(dialed(&guard, host, 443).await.is_some(), "{host}");
            assert_eq!(dialed(&plain, host, 443).await, None, "{host}");
        }
        assert_eq!(dialed(&plain, "c.io", 443).await.unwrap(), "1.1.1.1:443");
        let exempts = |url: &str| guard.exempts(&url::Url::parse(url).unwrap().origin());
        assert!(exempts("https://a.io") && exempts("https://B.io:9"));
        for stranger in ["https://a.io:22", "https://c.io", "https://d.io", "https://10.0.0.1", "data:x"] {
            assert!(!exempts(stranger), "{stranger}");
        }
    }

    #[tokio::test]
    async fn a_shared_entry_with_a_private_address_is_for_the_registry_with_that_api() {
        let entries =
            [("r.io", "10.0.0.1"), ("s.io", "10.0.0.2"), ("cdn.io", "10.0.0.3"), ("public.io", "1.1.1.1")];
        let ours = registry("r.io", "https://r.io", &[]);
        let theirs = registry("s.io", "https://s.io", &[("127.0.0.9", "1.1.1.1")]);
        let guard = guard(vec![ours, theirs], &entries);
        assert_eq!(dialed(&guard, "r.io", 443).await.unwrap(), "10.0.0.1:443");
        assert_eq!(dialed(&guard, "public.io", 443).await.unwrap(), "1.1.1.1:443");
        for host in ["s.io", "cdn.io"] {
            assert_eq!(dialed(&guard, host, 443).await, None, "{host}");
        }
        // Another registry's own table is not used.
        assert_eq!(dialed(&guard, "127.0.0.9", 443).await, None);
    }

    #[tokio::test]
    async fn only_the_api_host_and_allowed_hosts_are_left_to_the_proxy() {
        let rules = ProxyRules::everything("http://proxy:1".parse().unwrap());
        let allow_hosts = ["auth.io", "*.cdn.io"].map(|host| host.to_owned().try_into().unwrap()).to_vec();
        let registries = vec![
            registry("r.io", "https://r.io:5000", &[("pinned.cdn.io", "10.0.0.1")]),
            registry("s.io", "https://s.io", &[]),
        ];
        let guard = guard_with_proxy(registries, &[], Some(ProxySettings { rules, allow_hosts }));
        for (host, port) in [("R.io", 5000), ("auth.io", 443), ("a.cdn.io", 443)] {
            assert!(guard.allows_by_name(host, port), "{host}:{port}");
        }
        let others = [
            ("r.io", 443),
            ("s.io", 443),
            ("auth.io", 22),
            ("pinned.cdn.io", 443),
            ("evil.io", 443),
            ("[::1]", 443),
            ("10.0.0.1", 443),
        ];
        for (host, port) in others {
            assert!(!guard.allows_by_name(host, port), "{host}:{port}");
        }
        let strangers = guard.without_exemptions();
        assert!(strangers.allows_by_name("auth.io", 443) && !strangers.allows_by_name("r.io", 5000));
        // An address stays checked.
        assert_eq!(dialed(&guard, "10.9.9.9", 443).await, None);
    }
}
