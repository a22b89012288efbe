//! Which engines used a credential for their last token of a registry: they are challenged at once, so that their
//! account's quota is used, and private content takes no further request.
//!
//! Pure: takes the time as an argument. Bounded, and holds no credential.

use crate::gateway::engine::Engine;
use docxy_host::lru::Lru;
use docxy_protocol::name::Registry;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of remembered connections and `User-Agent`s. An engine that is forgotten is served anonymously
/// once.
const ENTRIES_MAX: usize = 1024;

/// How long a `User-Agent` is remembered. Several engines may call themselves the same.
const AGENT_LIFETIME: Duration = Duration::from_secs(3600);

/// What an engine's token was obtained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A credential of its user.
    Credential,
    /// Nothing: it is the public token.
    Public,
}

/// The engines whose last token came from a credential. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct CredentialUse(Arc<Mutex<Lru<Key, Instant>>>);

/// How an engine is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Connection(Registry, u64),
    Agent(Registry, String),
}

impl Default for CredentialUse {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Lru::new(ENTRIES_MAX))))
    }
}

impl CredentialUse {
    /// Records how an engine got a token.
    pub(in crate::gateway) fn record(
        &self,
        registry: &Registry,
        engine: &Engine,
        kind: TokenKind,
        now: Instant,
    ) {
        let mut entries = self.0.lock();
        for key in keys(registry, engine) {
            match kind {
                TokenKind::Credential => drop(entries.insert(key, now, 1)),
                TokenKind::Public => drop(entries.remove(&key)),
            }
        }
    }

    /// Whether the engine's last token of this registry came from a credential, as far as is known.
    pub(in crate::gateway) fn is_known(&self, registry: &Registry, engine: &Engine, now: Instant) -> bool {
        let mut entries = self.0.lock();
        keys(registry, engine).any(|key| {
            entries.get(&key).is_some_and(|since| {
                matches!(key, Key::Connection(..)) || now.saturating_duration_since(*since) < AGENT_LIFETIME
            })
        })
    }
}

fn keys(registry: &Registry, engine: &Engine) -> impl Iterator<Item = Key> {
    let connection = Key::Connection(registry.clone(), engine.connection);
    let agent = engine.agent_text.clone().map(|agent| Key::Agent(registry.clone(), agent));
    std::iter::once(connection).chain(agent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use http::header::USER_AGENT;

    fn engine(connection: u64, agent: &str) -> Engine {
        let mut headers = HeaderMap::new();
        if !agent.is_empty() {
            headers.insert(USER_AGENT, agent.parse().unwrap());
        }
        Engine::new(connection, &headers)
    }

    #[test]
    fn an_engine_is_known_by_its_connection_or_for_an_hour_by_its_name() {
        let (known, hub, now) = (CredentialUse::default(), Registry::docker_hub(), Instant::now());
        let later = now + Duration::from_secs(3601);
        known.record(&hub, &engine(1, "containerd/2.3.0"), TokenKind::Credential, now);
        for (connection, agent, at, expected) in [
            (1, "containerd/2.3.0", now, true),
            (1, "another", later, true),
            (2, "containerd/2.3.0", now, true),
            (2, "containerd/2.3.0", later, false),
            (2, "containerd/2.3.1", now, false),
            (2, "", now, false),
        ] {
            assert_eq!(
                known.is_known(&hub, &engine(connection, agent), at),
                expected,
                "{connection} {agent}"
            );
        }
        assert!(!known.is_known(&"ghcr.io".parse().unwrap(), &engine(1, "containerd/2.3.0"), now));
    }

    #[test]
    fn the_last_token_counts() {
        let (known, hub, now) = (CredentialUse::default(), Registry::docker_hub(), Instant::now());
        known.record(&hub, &engine(1, "a"), TokenKind::Credential, now);
        known.record(&hub, &engine(1, "a"), TokenKind::Public, now);
        assert!(!known.is_known(&hub, &engine(1, "a"), now));
    }

    #[test]
    fn the_number_of_engines_is_limited() {
        let (known, hub, now) = (CredentialUse::default(), Registry::docker_hub(), Instant::now());
        for n in 0..2 * ENTRIES_MAX as u64 {
            known.record(&hub, &engine(n, ""), TokenKind::Credential, now);
        }
        let count =
            (0..2 * ENTRIES_MAX as u64).filter(|n| known.is_known(&hub, &engine(*n, ""), now)).count();
        assert_eq!(count, ENTRIES_MAX);
    }
}
