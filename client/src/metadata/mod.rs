//! What the client can answer itself: the challenges of registries, and content that was prefetched or seen
//! before.
//!
//! Must never return content for another repository than the one in which it was seen, nor private content to
//! a request with another token. Private content is never written to the disk.

pub(crate) mod cache;
pub(crate) mod challenge;
pub(crate) mod prefetch;
pub(crate) mod rate_limit;

use crate::exchange::PrefetchStream;
use crate::metadata::cache::response::{self, in_place_of_registry};
use crate::metadata::cache::{CacheScope, ContentCache};
use crate::metadata::challenge::ChallengeStore;
use crate::metadata::prefetch::{InFlightPrefetches, PrefetchPolicy, PrefetchUsage};
use crate::metadata::rate_limit::RateLimits;
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::headers::Headers;
use docxy_protocol::request::{Method, Request};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::path::Path;
use std::time::Instant;
use tokio::sync::oneshot;

/// The challenges, the rate limits, the cache and the prefetches. Clones share them.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub(crate) challenges: ChallengeStore,
    pub(crate) rate_limits: RateLimits,
    pub(crate) cache: ContentCache,
    pub(crate) policy: PrefetchPolicy,
    pub(crate) prefetch_usage: PrefetchUsage,
    in_flight: InFlightPrefetches,
}

impl Metadata {
    /// With the content of the directory `cache`, which may be deleted at any time.
    #[must_use]
    pub fn open(cache: Option<&Path>) -> Self {
        Self {
            challenges: ChallengeStore::load(cache.map(|cache| cache.join("challenges.json"))),
            rate_limits: RateLimits::default(),
            cache: ContentCache::open(cache.map(|cache| cache.join("content"))),
            in_flight: InFlightPrefetches::default(),
            policy: PrefetchPolicy::default(),
            prefetch_usage: PrefetchUsage::default(),
        }
    }

    /// The 401 of the registry for a request without credential, if its challenge is known.
    pub(crate) fn challenge_response(&self, request: &Request) -> Option<Response<Bytes>> {
        if request.authorization != Authorization::None {
            return None;
        }
        let challenges = self.challenges.for_request(&request.registry, &request.operation)?;
        unauthorized(&challenges, request.operation.method())
    }

    /// The 401 for a request without a credential that the registry has refused. `None` if the registry has no
    /// challenge.
    pub(crate) fn challenge_after_refusal(&self, request: &Request) -> Option<Response<Bytes>> {
        let challenges = self.challenges.after_refusal(&request.registry, &request.operation)?;
        unauthorized(&challenges, request.operation.method())
    }

    /// The 401 for a request whose token its registry did not issue. It has `error="invalid_token"`, so that
    /// engines fetch a new token.
    pub(crate) fn invalid_token_response(&self, request: &Request) -> Option<Response<Bytes>> {
        let challenges = self.challenges.for_invalid_token(&request.registry, &request.operation);
        unauthorized(&challenges, request.operation.method())
    }

    /// The requested content, if it is cached, or is in flight and arrives before `until`.
    pub(crate) async fn cached_content(&self, request: &Request, until: Instant) -> Option<Response<Bytes>> {
        let key = response::key(request)?;
        self.policy.observe_request(self.cache.descriptor_index(), &key);
        let entry = match self.cache.get(&key).await {
            Some(entry) => entry,
            None => self.in_flight.wait(&self.cache, &key, until).await?,
        };
        let response = response::content(request, &entry)?;
        tracing::debug!(content = %key, "answered from the cache");
        self.prefetch_usage.requested(&key);
        Some(response)
    }

    /// Stores what a response head reports.
    pub(crate) fn observe_response(&self, request: &Request, status: StatusCode, headers: &Headers) {
        self.challenges.observe_response(request, status, headers);
        self.rate_limits.observe_response(&request.registry, status, headers);
        if status == StatusCode::OK {
            self.policy.observe_tag(request, headers);
            self.policy.observe_pull(request, &self.cache);
        }
    }

    /// Receives and stores the content after a response. Requests for it wait meanwhile.
    pub(crate) fn receive_prefetch(&self, request: &Request, prefetch: oneshot::Receiver<PrefetchStream>) {
        let (Some(scope), Some(hint)) = (CacheScope::of(request), &request.prefetch) else { return };
        let guard = self.in_flight.open(scope.clone(), hint.clone());
        tokio::spawn(prefetch::receive(
            prefetch,
            scope,
            self.cache.clone(),
            self.prefetch_usage.clone(),
            guard,
        ));
    }
}

/// The 401 of a registry with these challenges.
fn unauthorized(challenges: &[Challenge], method: Method) -> Option<Response<Bytes>> {
    let status = StatusCode::UNAUTHORIZED;
    let body = error_body::from_upstream(status, b"authentication required", "");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    for challenge in challenges {
        headers.append(header::WWW_AUTHENTICATE, challenge.to_header()?);
    }
    Some(in_place_of_registry(status, headers, method, body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_has_the_registrys_challenges() {
        let challenge = Challenge::bearer("r", "s");
        let answer = unauthorized(&[challenge.clone(), challenge.clone()], Method::Get).unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let lines: Vec<_> = answer.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(lines, [challenge.to_string().as_str(); 2]);
        assert!(answer.body().starts_with(br#"{"errors":[{"code":"UNAUTHORIZED""#));
        assert!(unauthorized(&[challenge], Method::Head).unwrap().body().is_empty());
    }
}
