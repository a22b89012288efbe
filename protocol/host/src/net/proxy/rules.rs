//! Which destinations are reached through a proxy.
//!
//! Pure. Must never name a proxy for this machine itself: a proxy elsewhere would connect to its own.

use super::url::Proxy;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The default port of destinations.
const HTTPS_PORT: u16 = 443;

/// A proxy, and the destinations that are reached without it.
#[derive(Debug, Clone)]
pub struct ProxyRules {
    proxy: Arc<Proxy>,
    /// The value of `NO_PROXY`.
    exceptions: String,
    /// What is reached without the proxy at any port, and at single ones.
    matchers: Arc<BTreeMap<Option<u16>, Matcher>>,
}

impl ProxyRules {
    /// Everything through this proxy, except for this machine.
    #[must_use]
    pub fn everything(proxy: Proxy) -> Self {
        Self::except(proxy, "")
    }

    /// The same without the destinations of `exceptions`, which is a value of `NO_PROXY`: host names, each with its
    /// subdomains, addresses, networks, also as `192.0.2.*`, each with or without a port, separated by commas or blanks; `*` is
    /// everything.
    #[must_use]
    pub fn except(proxy: Proxy, exceptions: &str) -> Self {
        let mut entries = BTreeMap::from([(None, Vec::new())]);
        for text in exceptions.split(|c: char| c == ',' || c.is_whitespace()) {
            let (entry, port) = entry(text);
            let entry = network(entry).unwrap_or_else(|| entry.to_owned());
            entries.entry(port).or_default().push(entry);
        }
        // The URL does not matter: only whether the matcher would use it.
        let matcher = |entries: Vec<String>| {
            Matcher::builder().https("http://proxy.invalid").no(entries.join(",")).build()
        };
        let matchers = entries.into_iter().map(|(port, entries)| (port, matcher(entries))).collect();
        Self { proxy: Arc::new(proxy), exceptions: exceptions.to_owned(), matchers: Arc::new(matchers) }
    }

    /// The proxy for the HTTPS port of a host, which may be a name or an address, with or without brackets.
    #[must_use]
    pub fn proxy_for(&self, host: &str) -> Option<&Proxy> {
        self.proxy_to(host, HTTPS_PORT)
    }

    /// The same for another port.
    #[must_use]
    pub fn proxy_to(&self, host: &str, port: u16) -> Option<&Proxy> {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let is_address = host.parse::<IpAddr>();
        if is_address.as_ref().map_or_else(|_| is_localhost(host), |ip| ip.to_canonical().is_loopback()) {
            return None;
        }
        let (open, close) = if is_address.is_ok_and(|ip| ip.is_ipv6()) { ("[", "]") } else { ("", "") };
        let uri: Uri = format!("https://{open}{host}{close}").parse().ok()?;
        let mut matchers = [None, Some(port)].into_iter().filter_map(|port| self.matchers.get(&port));
        matchers.all(|matcher| matcher.intercept(&uri).is_some()).then_some(&*self.proxy)
    }

    /// The proxy, whatever the destination.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

impl PartialEq for ProxyRules {
    fn eq(&self, other: &Self) -> bool {
        self.proxy == other.proxy && self.exceptions == other.exceptions
    }
}

impl Eq for ProxyRules {}

/// An entry of `NO_PROXY` as the matcher knows it, and its port, if it has one.
fn entry(text: &str) -> (&str, Option<u16>) {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let host = host.strip_prefix("*.").unwrap_or(host).trim_end_matches('.');
    (host, port.and_then(|port| port.parse().ok()))
}

/// The network that a pattern of addresses means: `192.0.2.*` is `192.0.2.0/24`.
fn network(pattern: &str) -> Option<String> {
    let bytes = pattern.trim_end_matches(".*");
    let mut address = [0; 4];
    let mut count = 0;
    for byte in bytes.split('.') {
        *address.get_mut(count)? = byte.parse().ok()?;
        count += 1;
    }
    let is_whole = bytes.len() + 2 * (4 - count) >= pattern.len();
    (count < 4 && pattern != bytes && is_whole).then(|| format!("{}/{}", Ipv4Addr::from(address), 8 * count))
}

/// Names that mean this machine (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_the_exceptions_are_reached_directly() {
        let proxy: Proxy = "http://proxy:1".parse().unwrap();
        let goes = |rules: &ProxyRules, host: &str| rules.proxy_for(host).is_some();
        let all = ProxyRules::everything(proxy.clone());
        for host in ["docker.io", "10.0.0.1", "[2001:db8::1]", "2001:db8::1", "localhost.example"] {
            assert!(goes(&all, host), "{host}");
        }
        for host in
            ["localhost", "LOCALHOST.", "a.localhost", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]
        {
            assert!(!goes(&all, host), "{host}");
        }
        let some =
            ProxyRules::except(proxy.clone(), "*.corp.example, .lan,10.0.0.0/8,2001:db8::/32, 192.0.2.1");
        for host in ["corp.example", "a.corp.example", "b.lan", "10.1.2.3", "[2001:db8::1]", "192.0.2.1"] {
            assert!(!goes(&some, host), "{host}");
        }
        for host in ["notcorp.example", "docker.io", "192.0.2.2", "2001:db9::1"] {
            assert!(goes(&some, host), "{host}");
        }
        let odd = ProxyRules::except(
            proxy.clone(),
            "a.example:443 b.example.\tc.example:8443,[2001:db8::1] [2001:db8::2]:8443",
        );
        for host in ["a.example", "b.example", "x.b.example.", "2001:db8::1"] {
            assert!(!goes(&odd, host), "{host}");
        }
        for host in ["c.example", "2001:db8::2"] {
            assert!(goes(&odd, host) && odd.proxy_to(host, 8443).is_none(), "{host}");
        }
        assert!(odd.proxy_to("a.example", 8443).is_some() && odd.proxy_to("b.example", 8443).is_none());
        let patterns =
            ProxyRules::except(proxy.clone(), "192.0.2.*,198.51.*.*,10.*,203.0.113.7.*:8443,1.2.3.4.*");
        for host in ["192.0.2.9", "198.51.7.7", "10.9.9.9"] {
            assert!(!goes(&patterns, host), "{host}");
        }
        for host in ["192.0.3.9", "198.52.7.7", "11.9.9.9", "1.2.3.4", "203.0.113.7"] {
            assert!(goes(&patterns, host), "{host}");
        }
        assert!(!goes(&ProxyRules::except(proxy.clone(), "*"), "docker.io"));
        assert_ne!(ProxyRules::except(proxy.clone(), "a"), ProxyRules::everything(proxy));
    }
}
