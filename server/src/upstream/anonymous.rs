//! The tokens that the server holds for those who come without a credential of their own.
//!
//! One token per repository, shared by all who ask, fetched once for many askers. Never holds a
//! token that a user's credential paid for.

use super::token_service::{NoToken, Token};
use docxy_protocol::secret::Secret;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Repositories remembered at most. A token is about 3 KiB; this keeps the whole below 4 MiB.
const MOST: usize = 1024;

/// A token is renewed when less than this is left, so that it outlives the request it is put on.
const MARGIN: Duration = Duration::from_secs(20);

/// Tokens by what they are for.
#[derive(Debug)]
pub(super) struct TokenCache<K> {
    slots: Mutex<HashMap<K, Arc<Slot>>>,
}

type Slot = tokio::sync::Mutex<Option<Held>>;

#[derive(Debug)]
struct Held {
    token: Secret,
    until: Instant,
}

impl<K: Hash + Eq + Clone> TokenCache<K> {
    pub(super) fn new() -> Self {
        Self { slots: Mutex::new(HashMap::new()) }
    }

    /// The token for `key`: the one at hand, or the one that `fetch` brings. While one caller
    /// fetches, the others wait for its result.
    ///
    /// # Errors
    /// What `fetch` fails with.
    pub(super) async fn get<F>(&self, key: &K, fetch: impl FnOnce() -> F) -> Result<Option<Secret>, NoToken>
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        let slot = self.slot(key);
        let mut held = slot.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(Some(held.token.clone()));
        }
        let Some(token) = fetch().await? else {
            return Ok(None);
        };
        let until = Instant::now() + token.lifetime.saturating_sub(MARGIN);
        *held = Some(Held { token: token.secret.clone(), until });
        Ok(Some(token.secret))
    }

    /// Forgets a token that the registry refused; another one in its place stays.
    pub(super) async fn forget(&self, key: &K, refused: &Secret) {
        let slot = self.slot(key);
        let mut held = slot.lock().await;
        if held.as_ref().is_some_and(|held| held.token == *refused) {
            *held = None;
        }
    }

    fn slot(&self, key: &K) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(key) {
            // Rare, and a token is one request to get back; those in use are kept.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn token(text: &str, seconds: u64) -> Token {
        Token { secret: Secret::new(text), lifetime: Duration::from_secs(seconds) }
    }

    #[tokio::test]
    async fn many_askers_cost_one_request() {
        let cache = TokenCache::new();
        let fetched = AtomicUsize::new(0);
        let ask = || {
            cache.get(&"repo", || async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(Some(token("t", 300)))
            })
        };
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        for got in [a, b, c] {
            assert_eq!(got.unwrap().unwrap().expose(), "t");
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
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
    async fn the_number_of_repositories_is_bounded() {
        let cache = TokenCache::new();
        for n in 0..MOST + 10 {
            cache.get(&n, || async { Ok(Some(token("t", 300))) }).await.unwrap();
        }
        assert!(cache.slots.lock().unwrap().len() <= MOST);
    }
}
