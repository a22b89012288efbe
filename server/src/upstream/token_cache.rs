//! The tokens that the server holds for those who come without a credential of their own: the
//! registry's anonymous ones and, where there is an account, the operator's.
//!
//! One for each use, shared by all who ask. Never holds a token that a user's credential opened.

use super::one_flight::{Fetched, OneFlight};
use super::token_service::{NoToken, Token};
use crate::store::Lru;
use docxy_protocol::secret::Secret;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes held at most, for a registry.
const MOST: usize = 4 * 1024 * 1024;

/// What a use counts at least, so that there are 1,024 at most. A token is about 3 KiB.
const LEAST: usize = 4096;

/// What a use takes beside its token, roughly: its names are held twice.
const OVERHEAD: usize = 1024;

/// A token is renewed when less than this is left, so that it outlives the request it is put on.
const MARGIN: Duration = Duration::from_secs(20);

/// Tokens by what they are for. What was used last stays.
#[derive(Debug)]
pub(super) struct TokenCache<K> {
    slots: Mutex<Lru<K, Arc<OneFlight<Secret>>>>,
}

impl<K: Hash + Eq + Clone> TokenCache<K> {
    pub(super) fn new() -> Self {
        Self { slots: Mutex::new(Lru::new(MOST)) }
    }

    /// The token for `key`: the one at hand, or the one that `fetch` brings; `None` where none is wanted,
    /// or granted.
    ///
    /// # Errors
    /// What `fetch` fails with.
    pub(super) async fn get<F>(&self, key: &K, fetch: impl FnOnce() -> F) -> Result<Option<Secret>, NoToken>
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        let token = self.slot(key).get(|| async { fetch().await.and_then(held) }).await;
        let size = match &token {
            Ok(token) => token.expose().len(),
            Err(NoToken::Limited(answer)) => answer.size(),
            Err(NoToken::Refused | NoToken::Fault(_)) => 0,
        };
        self.lock().resize(key, LEAST.max(size + OVERHEAD));
        match token {
            Ok(token) => Ok(Some(token)),
            Err(NoToken::Refused) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// What tokens that will soon end are in use for.
    pub(super) fn used_late(&self) -> Vec<K> {
        let slots = self.lock();
        slots.iter().filter(|(_, slot)| slot.take_used_late()).map(|(key, _)| key.clone()).collect()
    }

    /// Has another token in the place of the one for `key`, which stays where none is to be had.
    pub(super) async fn renew<F>(&self, key: &K, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        self.slot(key).renew(|| async { fetch().await.and_then(held) }).await;
    }

    /// Forgets a token that the registry refused; another one in its place stays.
    pub(super) async fn forget(&self, key: &K, refused: &Secret) {
        self.slot(key).forget(|held| held == refused).await;
    }

    fn slot(&self, key: &K) -> Arc<OneFlight<Secret>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        let slot = Arc::<OneFlight<Secret>>::default();
        // One that has to go for it is still there for those who wait for it.
        slots.insert(key.clone(), Arc::clone(&slot), LEAST);
        slot
    }

    fn lock(&self) -> MutexGuard<'_, Lru<K, Arc<OneFlight<Secret>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn held(token: Option<Token>) -> Result<Fetched<Secret>, NoToken> {
    let Token { secret, lifetime } = token.ok_or(NoToken::Refused)?;
    Ok(Fetched { value: secret, lifetime: lifetime.saturating_sub(MARGIN) })
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
    async fn uses_are_bounded_in_number_and_in_bytes_and_the_last_ones_stay() {
        for (length, most) in [(1, MOST / LEAST), (16 * 1024, MOST / (17 * 1024))] {
            let cache = TokenCache::new();
            let text = "t".repeat(length);
            for n in 0..most + 10 {
                cache.get(&n, || async { Ok(Some(token(&text, 300))) }).await.unwrap();
                // In use all the time.
                cache.get(&0, || async { Ok(Some(token(&text, 300))) }).await.unwrap();
            }
            let slots = cache.lock();
            assert_eq!(slots.iter().count(), most, "{length} bytes each");
            assert!(slots.contains(&0) && slots.contains(&(most + 9)) && !slots.contains(&1));
        }
    }
}
