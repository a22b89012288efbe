//! The tokens that the server obtains itself: for requests without a credential, and for logins.
//!
//! One token for each key, shared by all requests with that key, which for a user's token has the password's hash.

use super::refreshing_cell::{Expiring, RefreshingCell};
use super::service::{Token, TokenUnavailable};
use crate::upstream::store::Lru;
use docxy_protocol::secret::Secret;
use parking_lot::Mutex;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of bytes of tokens in memory, for each registry.
const CACHE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The bytes that an entry counts at least, so that there are at most 1,024. A token is about 3 KiB.
const ENTRY_BYTES_MIN: usize = 4096;

/// The approximate bytes of an entry besides its token: its key is stored twice.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// A token is not used with less than this left, so that it outlives the request that carries it.
const EXPIRY_MARGIN: Duration = Duration::from_secs(20);

/// A cached token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedToken {
    pub(crate) secret: Secret,
    fetched_at: Instant,
}

impl CachedToken {
    /// The value of `Authorization`.
    pub(crate) fn authorization(&self) -> Secret {
        Secret::new(format!("Bearer {}", self.secret.expose()))
    }

    /// Whether it was fetched for a request that started then.
    pub(super) fn is_for_request_since(&self, started: Instant) -> bool {
        self.fetched_at >= started
    }
}

/// Tokens by key. The least recently used are evicted.
#[derive(Debug)]
pub(crate) struct TokenCache<K> {
    cells: Mutex<Lru<K, Arc<RefreshingCell<CachedToken>>>>,
}

impl<K: Hash + Eq + Clone> TokenCache<K> {
    pub(crate) fn new() -> Self {
        Self { cells: Mutex::new(Lru::new(CACHE_BYTES_MAX)) }
    }

    /// The token for `key`, cached or from `fetch`.
    ///
    /// # Errors
    /// The error of `fetch`.
    pub(crate) async fn get<F>(
        &self,
        key: &K,
        fetch: impl FnOnce() -> F,
    ) -> Result<CachedToken, TokenUnavailable>
    where
        F: Future<Output = Result<Token, TokenUnavailable>>,
    {
        let token = self.cell(key).get(|| async { fetch().await.map(with_margin) }).await;
        let size = match &token {
            Ok(token) => token.secret.expose().len(),
            Err(TokenUnavailable::Limited(response)) => response.size(),
            Err(_) => 0,
        };
        self.cells.lock().resize(key, ENTRY_BYTES_MIN.max(size + ENTRY_OVERHEAD_BYTES));
        token
    }

    /// The cached token for `key`.
    pub(crate) async fn peek(&self, key: &K) -> Option<CachedToken> {
        let cell = self.cells.lock().get(key).cloned()?;
        cell.peek().await
    }

    /// The keys of the tokens that were used near their expiry.
    pub(crate) fn take_used_near_expiry(&self) -> Vec<K> {
        let cells = self.cells.lock();
        cells.iter().filter(|(_, cell)| cell.take_used_near_expiry()).map(|(key, _)| key.clone()).collect()
    }

    /// Replaces the token for `key`. It stays if `fetch` fails.
    pub(crate) async fn renew<F>(&self, key: &K, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Token, TokenUnavailable>>,
    {
        self.cell(key).renew(|| async { fetch().await.map(with_margin) }).await;
    }

    /// Removes a token that the registry refused; a newer one stays.
    pub(crate) async fn remove(&self, key: &K, refused: &Secret) {
        self.cell(key).remove_if(|token| token.secret == *refused).await;
    }

    fn cell(&self, key: &K) -> Arc<RefreshingCell<CachedToken>> {
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(key) {
            return Arc::clone(cell);
        }
        let cell = Arc::<RefreshingCell<CachedToken>>::default();
        // An evicted cell lives on for the callers that wait for it.
        cells.insert(key.clone(), Arc::clone(&cell), ENTRY_BYTES_MIN);
        cell
    }
}

fn with_margin(Token { secret, lifetime }: Token) -> Expiring<CachedToken> {
    let value = CachedToken { secret, fetched_at: Instant::now() };
    Expiring { value, lifetime: lifetime.saturating_sub(EXPIRY_MARGIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, seconds: u64) -> Token {
        Token { secret: Secret::new(text), lifetime: Duration::from_secs(seconds) }
    }

    #[tokio::test]
    async fn an_expiring_or_refused_token_is_fetched_again() {
        let cache = TokenCache::new();
        let short = cache.get(&1, || async { Ok(token("short", 10)) }).await.unwrap();
        assert_eq!(short.secret.expose(), "short");
        let long = cache.get(&1, || async { Ok(token("long", 300)) }).await.unwrap();
        assert_eq!(long.secret.expose(), "long");
        cache.remove(&1, &short.secret).await;
        let refused = || TokenUnavailable::NONE;
        let kept = cache.get(&1, || async { Err(refused()) }).await.unwrap();
        assert_eq!(kept, long.clone(), "only the refused token is removed");
        assert_eq!(cache.peek(&1).await, Some(long.clone()));
        cache.remove(&1, &long.secret).await;
        assert_eq!(cache.peek(&1).await, None);
        assert_eq!(cache.get(&1, || async { Err(refused()) }).await, Err(refused()));
        assert_eq!((cache.peek(&1).await, cache.peek(&2).await), (None, None));
    }

    #[tokio::test]
    async fn entries_are_bounded_in_number_and_bytes() {
        for (length, max) in
            [(1, CACHE_BYTES_MAX / ENTRY_BYTES_MIN), (16 * 1024, CACHE_BYTES_MAX / (17 * 1024))]
        {
            let cache = TokenCache::new();
            let text = "t".repeat(length);
            for n in 0..max + 10 {
                cache.get(&n, || async { Ok(token(&text, 300)) }).await.unwrap();
                // Used all the time.
                cache.get(&0, || async { Ok(token(&text, 300)) }).await.unwrap();
            }
            let cells = cache.cells.lock();
            assert_eq!(cells.iter().count(), max, "{length} bytes each");
            assert!(cells.contains(&0) && cells.contains(&(max + 9)) && !cells.contains(&1));
        }
    }
}
