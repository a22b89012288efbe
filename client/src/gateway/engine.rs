//! The engine that sent a request.

use docxy_protocol::user_agent::UserAgent;
use http::HeaderMap;
use http::header::USER_AGENT;

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
}

impl Engine {
    /// The engine of a request with these header fields, on the connection with this number.
    #[must_use]
    pub fn new(connection: u64, headers: &HeaderMap) -> Self {
        let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let agent_text = text.filter(|text| text.len() <= AGENT_BYTES_MAX).map(str::to_owned);
        Self { connection, agent_text, agent: UserAgent::of_request(headers) }
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
