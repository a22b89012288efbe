//! Anonymous tokens, each for the origin (scheme, host and port) whose challenge asked for it.
//!
//! A registry may ask for another token than its `/v2/` says, and may redirect to another registry that asks for a
//! token of its own. What each origin asked for is remembered, so that the next request carries the right tokens.
//! Must never give a token to another origin, nor hold a token of an account.

use super::bearer_challenge::BearerChallenge;
use super::cache::{CachedToken, TokenCache};
use super::service::{Token, TokenUnavailable};
use crate::store::Lru;
use crate::upstream::http::credentials::Credentials;
use docxy_protocol::name::Repository;
use docxy_protocol::secret::Secret;
use parking_lot::{Mutex, MutexGuard};
use std::future::Future;
use std::time::Instant;
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

/// The challenges and tokens of one registry, and of the registries that it redirects to.
#[derive(Debug)]
pub(super) struct AnonymousTokens {
    challenges: Mutex<Lru<Option<Repository>, Vec<OriginChallenge>>>,
    tokens: TokenCache<OriginChallenge>,
}

/// The tokens that one request carries, and why one is missing.
#[derive(Debug, Default)]
pub(in crate::upstream) struct OriginTokens {
    held: Vec<(OriginChallenge, CachedToken)>,
    pub(super) missing: Option<(OriginChallenge, TokenUnavailable)>,
}

impl AnonymousTokens {
    pub(super) fn new() -> Self {
        Self { challenges: Mutex::new(Lru::new(CHALLENGES_BYTES_MAX)), tokens: TokenCache::new() }
    }

    /// What this origin last asked for.
    pub(super) fn challenge_of(
        &self,
        origin: &Origin,
        repository: Option<&Repository>,
    ) -> Option<BearerChallenge> {
        let mut challenges = self.lock();
        let of_repository = challenges.get(&repository.cloned())?;
        let found = of_repository.iter().find(|known| known.origin == *origin);
        found.map(|known| known.challenge.clone())
    }

    /// Remembers what an origin asks for.
    pub(super) fn remember(&self, asked: OriginChallenge, repository: Option<&Repository>) {
        let mut challenges = self.lock();
        let key = repository.cloned();
        let mut known = challenges.remove(&key).unwrap_or_default();
        known.retain(|other| other.origin != asked.origin);
        if known.len() == ORIGINS_PER_REPOSITORY_MAX {
            known.remove(0);
        }
        known.push(asked);
        challenges.insert(key, known, REPOSITORY_BYTES);
    }

    /// The tokens in the cache for the other origins that a request for this repository was redirected to.
    pub(super) async fn held_elsewhere(&self, own: &Origin, repository: Option<&Repository>) -> OriginTokens {
        let known = self.lock().get(&repository.cloned()).cloned().unwrap_or_default();
        let mut tokens = OriginTokens::default();
        for asked in known.into_iter().filter(|asked| asked.origin != *own) {
            if let Some(token) = self.tokens.peek(&asked).await {
                tokens.held.push((asked, token));
            }
        }
        tokens
    }

    /// The token that an origin asked for, cached or from `fetch`.
    ///
    /// # Errors
    /// The error of `fetch`.
    pub(super) async fn get<F>(
        &self,
        asked: &OriginChallenge,
        fetch: impl FnOnce() -> F,
    ) -> Result<CachedToken, TokenUnavailable>
    where
        F: Future<Output = Result<Token, TokenUnavailable>>,
    {
        self.tokens.get(asked, fetch).await
    }

    /// Removes a token that its origin refused; a newer one stays.
    pub(super) async fn forget(&self, asked: &OriginChallenge, refused: &Secret) {
        self.tokens.remove(asked, refused).await;
    }

    /// The cache, for what renews its tokens.
    pub(super) const fn cache(&self) -> &TokenCache<OriginChallenge> {
        &self.tokens
    }

    fn lock(&self) -> MutexGuard<'_, Lru<Option<Repository>, Vec<OriginChallenge>>> {
        self.challenges.lock()
    }
}

impl OriginTokens {
    /// The tokens as a request carries them.
    pub(in crate::upstream) fn credentials(&self) -> Credentials {
        let value = |token: &CachedToken| Secret::new(format!("Bearer {}", token.secret.expose()));
        Credentials::anonymous(
            self.held.iter().map(|(asked, token)| (asked.origin.clone(), value(token))).collect(),
        )
    }

    /// Whether there is a token for this origin.
    pub(in crate::upstream) fn has(&self, origin: &Origin) -> bool {
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

impl CachedToken {
    /// Whether it was fetched for a request that started then.
    pub(super) fn is_for_request_since(&self, started: Instant) -> bool {
        self.fetched_at >= started
    }
}
