//! What each origin (scheme, host and port) asked for, and the anonymous tokens that a request carries to them.
//!
//! A registry may ask for another token than its `/v2/` says, and may redirect to another registry that asks for a
//! token of its own. What each origin asked for is remembered, so that the next request carries the right tokens.
//! Must never give a token to another origin, nor hold a token of an account.

use super::bearer_challenge::BearerChallenge;
use super::cache::CachedToken;
use super::service::TokenUnavailable;
use crate::upstream::http::credentials::Credentials;
use crate::upstream::store::Lru;
use docxy_protocol::name::Repository;
use parking_lot::Mutex;
use url::Origin;

/// Maximum number of bytes of challenges in memory, for each registry. They have about two hundred bytes each.
const CHALLENGES_BYTES_MAX: usize = 1024 * 1024;

/// Maximum number of origins whose challenge is remembered for one repository: a registry, and those that it
/// redirects to.
const ORIGINS_PER_REPOSITORY_MAX: usize = 4;

/// The bytes that the challenges of a repository count: what real ones take, and what a registry can make them take.
const REPOSITORY_BYTES: usize = 2048;

/// What an origin asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OriginChallenge {
    pub(super) origin: Origin,
    pub(super) challenge: BearerChallenge,
}

/// The challenges of one registry, and of the registries that it redirects to, by repository.
#[derive(Debug)]
pub(super) struct KnownChallenges(Mutex<Lru<Option<Repository>, Vec<OriginChallenge>>>);

/// The tokens that one request carries, and why one is missing.
#[derive(Debug, Default)]
pub(crate) struct OriginTokens {
    held: Vec<(OriginChallenge, CachedToken)>,
    pub(super) missing: Option<(OriginChallenge, TokenUnavailable)>,
}

impl KnownChallenges {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Lru::new(CHALLENGES_BYTES_MAX)))
    }

    /// What this origin last asked for.
    pub(super) fn of(&self, origin: &Origin, repository: Option<&Repository>) -> Option<BearerChallenge> {
        let mut challenges = self.0.lock();
        let of_repository = challenges.get(&repository.cloned())?;
        let found = of_repository.iter().find(|known| known.origin == *origin);
        found.map(|known| known.challenge.clone())
    }

    /// Remembers what an origin asks for.
    pub(super) fn remember(&self, asked: OriginChallenge, repository: Option<&Repository>) {
        let mut challenges = self.0.lock();
        let key = repository.cloned();
        let mut known = challenges.remove(&key).unwrap_or_default();
        known.retain(|other| other.origin != asked.origin);
        if known.len() == ORIGINS_PER_REPOSITORY_MAX {
            known.remove(0);
        }
        known.push(asked);
        challenges.insert(key, known, REPOSITORY_BYTES);
    }

    /// What the other origins asked for that a request for this repository was redirected to.
    pub(super) fn elsewhere(&self, own: &Origin, repository: Option<&Repository>) -> Vec<OriginChallenge> {
        let mut known = self.0.lock().get(&repository.cloned()).cloned().unwrap_or_default();
        known.retain(|asked| asked.origin != *own);
        known
    }
}

impl OriginTokens {
    /// The tokens as a request carries them.
    pub(crate) fn credentials(&self) -> Credentials {
        let values = self.held.iter().map(|(asked, token)| (asked.origin.clone(), token.authorization()));
        Credentials::anonymous(values.collect())
    }

    /// Whether there is a token for this origin.
    pub(crate) fn has(&self, origin: &Origin) -> bool {
        self.held.iter().any(|(asked, _)| asked.origin == *origin)
    }

    pub(super) fn hold(&mut self, asked: OriginChallenge, token: CachedToken) {
        self.held.push((asked, token));
    }

    /// Removes the token for this origin.
    pub(super) fn take(&mut self, origin: &Origin) -> Option<(OriginChallenge, CachedToken)> {
        let at = self.held.iter().position(|(asked, _)| asked.origin == *origin)?;
        Some(self.held.swap_remove(at))
    }
}
