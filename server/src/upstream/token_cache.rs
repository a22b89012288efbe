//! The tokens that the server holds for those who come without a credential of their own: the
//! registry's anonymous ones and, where there is an account, the operator's.
//!
//! One for each use, shared by all who ask. Never holds a token that a user's credential opened.

use super::one_flight::{Fetched, OneFlight};
use super::token_service::{NoToken, Token};
use docxy_protocol::secret::Secret;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Uses remembered at most. A token is about 3 KiB; this keeps the whole below 4 MiB.
const MOST: usize = 1024;

/// A token is renewed when less than this is left, so that it outlives the request it is put on.
const MARGIN: Duration = Duration::from_secs(20);

/// Tokens by what they are for.
#[derive(Debug)]
pub(super) struct TokenCache<K> {
    slots: Mutex<HashMap<K, Arc<OneFlight<Option<Secret>>>>>,
}

impl<K: Hash + Eq + Clone> TokenCache<K> {
    pub(super) fn new() -> Self {
        Self { slots: Mutex::new(HashMap::new()) }
    }

    /// The token for `key`: the one at hand, or the one that `fetch` brings.
    ///
    /// # Errors
    /// What `fetch` fails with.
    pub(super) async fn get<F>(&self, key: &K, fetch: impl FnOnce() -> F) -> Result<Option<Secret>, NoToken>
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        self.slot(key).get(|| async { fetch().await.map(held) }).await
    }

    /// What tokens that will soon end are in use for.
    pub(super) fn used_late(&self) -> Vec<K> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter(|(_, slot)| slot.take_used_late()).map(|(key, _)| key.clone()).collect()
    }

    /// Has another token in the place of the one for `key`, which stays where none is to be had.
    pub(super) async fn renew<F>(&self, key: &K, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        self.slot(key).renew(|| async { fetch().await.map(held) }).await;
    }

    /// Forgets a token that the registry refused; another one in its place stays.
    pub(super) async fn forget(&self, key: &K, refused: &Secret) {
        self.slot(key).forget(|held| held.as_ref() == Some(refused)).await;
    }

    fn slot(&self, key: &K) -> Arc<OneFlight<Option<Secret>>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(key) {
            // Rare, and a token is one request to get back; those in use are kept.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    }
}

fn held(token: Option<Token>) -> Fetched<Option<Secret>> {
    match token {
        Some(Token { secret, lifetime }) => {
            Fetched { value: Some(secret), lifetime: lifetime.saturating_sub(MARGIN) }
        }
        None => Fetched { value: None, lifetime: Duration::ZERO },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, seconds: u64) -> Token {
        Token { secret: Secret::new(text), lifetime: Duration::from_secs(seconds) }
    }

    #[tokio::test]
    async fn a_token_that_ends_soon_or_was_refused_is_fetched_anew() {
        let cache = TokenCache::new();
        let short = cache.get(&1, || async { Ok(Some(token("short", 10))) }).await.unwrap().unwrap();
        assert_eq!(short.expose(), "short");
        let long = cache.get(&1, || async { Ok(Some(token("long", 300))) }).await.unwrap().unwrap();
        assert_eq!(long.expose(), "long");
        cache.forget(&1, &short).await;
        let kept = cache.get(&1, || async { Ok(None) }).await.unwrap();
        assert_eq!(kept, Some(long.clone()), "only the refused token is forgotten");
        cache.forget(&1, &long).await;
        assert_eq!(cache.get(&1, || async { Ok(None) }).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_number_of_uses_is_bounded() {
        let cache = TokenCache::new();
        for n in 0..MOST + 10 {
            cache.get(&n, || async { Ok(Some(token("t", 300))) }).await.unwrap();
        }
        assert!(cache.slots.lock().unwrap().len() <= MOST);
    }
}
