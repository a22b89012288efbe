//! The engine that sent a request.

use docxy_protocol::user_agent::UserAgent;
use http::header::{FORWARDED, USER_AGENT, VIA};
use http::{HeaderMap, HeaderName};
use std::net::IpAddr;

/// Bytes of a `User-Agent` that are compared. Those of real engines are shorter.
const AGENT_BYTES_MAX: usize = 512;

/// The engines, each with the products by which it is known. The first that fits counts: dockerd names the library of
/// containerd, too.
const NAMES: [(&str, &[&str]); 5] = [
    ("buildkit", &["buildkit"]),
    ("docker", &["docker"]),
    ("containerd", &["containerd"]),
    ("cri-o", &["cri-o"]),
    ("podman", &["containers", "libpod", "skopeo", "buildah"]),
];

/// An engine, as far as its requests tell.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The number of its connection. No other has it.
    pub(super) connection: u64,
    /// How it calls itself, as it is written.
    pub(super) agent_text: Option<String>,
    agent: UserAgent,
    /// Whether it runs on this machine, as far as its connection tells.
    is_local: bool,
}

impl Engine {
    /// The engine of a request with these header fields, on the connection with this number.
    #[must_use]
    pub fn new(connection: u64, headers: &HeaderMap) -> Self {
        let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let agent_text = text.filter(|text| text.len() <= AGENT_BYTES_MAX).map(str::to_owned);
        Self { connection, agent_text, agent: UserAgent::of_request(headers), is_local: false }
    }

    /// The same, whose connection comes from this address. A proxy on this machine may serve others.
    #[must_use]
    pub fn from_address(self, address: IpAddr, headers: &HeaderMap) -> Self {
        let by_proxies = [
            FORWARDED,
            VIA,
            HeaderName::from_static("x-forwarded-for"),
            HeaderName::from_static("x-real-ip"),
        ];
        let is_proxied = by_proxies.iter().any(|name| headers.contains_key(name));
        Self { is_local: address.to_canonical().is_loopback() && !is_proxied, ..self }
    }

    /// Whether it may use this user's logins.
    pub(super) const fn may_use_logins(&self) -> bool {
        self.is_local
    }

    /// Whether its connection comes from this machine, as far as that tells.
    pub(crate) const fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether it prints no more than the status of a failed `/v2/`: the library of podman, skopeo, buildah and CRI-O.
    /// It prints the words of the response to its next request.
    pub(super) fn hides_ping_faults(&self) -> bool {
        let products = ["containers", "skopeo", "buildah", "libpod", "cri-o"];
        products.iter().any(|name| self.agent.product(name).is_some())
    }

    /// Its name, if it is known.
    pub(super) fn name(&self) -> Option<&'static str> {
        let has = |names: &[&str]| names.iter().any(|name| self.agent.product(name).is_some());
        NAMES.iter().find(|(_, products)| has(products)).map(|(name, _)| *name)
    }

    /// How it calls itself.
    #[must_use]
    pub const fn agent(&self) -> &UserAgent {
        &self.agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_on_this_machine_may_use_logins() {
        for (address, field, expected) in [
            ("127.0.0.1", None, true),
            ("::1", None, true),
            ("::ffff:127.0.0.1", None, true),
            ("192.0.2.1", None, false),
            ("127.0.0.1", Some("x-forwarded-for"), false),
            ("127.0.0.1", Some("via"), false),
        ] {
            let mut headers = HeaderMap::new();
            field.map(|name| headers.insert(name, "192.0.2.1".parse().unwrap()));
            let engine = Engine::new(1, &headers).from_address(address.parse().unwrap(), &headers);
            assert_eq!(engine.may_use_logins(), expected, "{address} {field:?}");
        }
        assert!(!Engine::new(1, &HeaderMap::new()).may_use_logins());
    }
}
