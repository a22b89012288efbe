//! What the client knows without asking: what registries say to strangers, and content that has
//! come ahead or was seen before.
//!
//! Must never let content out for another repository than the one in which it was seen, nor what a
//! token opened to anybody who doesn't show that token; and that never gets onto the disk.

mod ahead;
mod answer;
mod challenge_file;
mod challenges;
mod coming;
mod keep;
mod kept;
mod outlines;
mod quota;
mod shelf;
mod store;
mod wishes;

pub(crate) use keep::Keep;
pub(crate) use quota::Quota;

use crate::exchange::Behind;
use challenges::Challenges;
use coming::Coming;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::PrefetchHint;
use docxy_protocol::request::Request;
use http::StatusCode;
use kept::Home;
use quota::Quotas;
use std::path::Path;
use std::time::Instant;
use store::Store;
use wishes::Wishes;

/// All of it. Clones share it.
#[derive(Debug, Clone)]
pub struct Metadata {
    challenges: Challenges,
    quotas: Quotas,
    store: Store,
    coming: Coming,
    wishes: Wishes,
}

/// What the client can answer by itself, with the headers that the registry would send.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: bytes::Bytes,
}

impl Metadata {
    /// With what was kept in `cache`, where there is such a directory. It may be lost at any time.
    #[must_use]
    pub fn open(cache: Option<&Path>) -> Self {
        Self {
            challenges: Challenges::load(cache.map(|cache| cache.join("challenges.json"))),
            quotas: Quotas::default(),
            store: Store::open(cache.map(|cache| cache.join("content"))),
            coming: Coming::default(),
            wishes: Wishes::default(),
        }
    }

    /// Which platform is likely to be asked for, where somebody has said so.
    pub(crate) fn expect_platform(&self, platform: &Platform) {
        self.wishes.expect(platform.clone());
    }

    /// What is left of each registry's quota, as far as its answers have said.
    pub(crate) fn quotas(&self) -> Vec<Quota> {
        self.quotas.all()
    }

    /// The registry's refusal of somebody who shows nothing, where that is known.
    pub(crate) fn refusal(&self, request: &Request) -> Option<Known> {
        if request.authorization != Authorization::None {
            return None;
        }
        let challenges = self.challenges.to(&request.registry, &request.operation)?;
        answer::refusal(&challenges, request.operation.method())
    }

    /// The 401 for a request whose token its registry did not issue. It says `error="invalid_token"`, so
    /// that engines fetch a new token.
    pub(crate) fn invalid_token(&self, request: &Request) -> Option<Known> {
        let challenges = self.challenges.for_invalid_token(&request.registry, &request.operation);
        answer::refusal(&challenges, request.operation.method())
    }

    /// Whether the registry should be asked for its challenge, behind an answer that repeated it.
    pub(crate) fn refresh_is_due(&self, registry: &Registry) -> bool {
        self.challenges.refresh_is_due(registry, Instant::now())
    }

    /// The content that is asked for, where it is here or on its way. Waits for the latter, until
    /// `until` at most.
    pub(crate) async fn content(&self, request: &Request, until: Instant) -> Option<Known> {
        let key = answer::key(request)?;
        self.wishes.asked_for(self.store.outlines(), &key);
        let kept = match self.store.get(&key).await {
            Some(kept) => kept,
            None => self.coming.wait(&self.store, &key, until).await?,
        };
        let known = answer::content(request, &kept)?;
        tracing::debug!(content = %key, "answered from here");
        Some(known)
    }

    /// What the server may send behind the answer to this request.
    pub(crate) async fn wish(&self, request: &Request) -> Option<PrefetchHint> {
        self.wishes.of(request, &self.store).await
    }

    /// Takes note of an answer's head.
    pub(crate) fn learn(&self, request: &Request, status: StatusCode, headers: &Headers) {
        let Request { registry, operation, authorization, .. } = request;
        let anonymous = *authorization == Authorization::None;
        self.challenges.learn(registry, operation, anonymous, (status, headers));
        self.quotas.learn(registry, headers);
        if status == StatusCode::OK {
            self.wishes.stands_for(request, headers);
        }
    }

    /// Keeps what follows an answer, as it comes. Whoever asks for some of it meanwhile waits.
    pub(crate) fn read_behind(&self, request: &Request, behind: Behind) {
        let (Some(home), Some(wish)) = (Home::of(request), &request.prefetch) else { return };
        let coming = self.coming.open(home.clone(), wish.clone());
        tokio::spawn(ahead::read(behind, home, self.store.clone(), coming));
    }

    /// Keeps a manifest that is about to pass on its way to an engine.
    pub(crate) fn keep(&self, request: &Request, status: StatusCode, headers: &Headers) -> Option<Keep> {
        Keep::new(&self.store, request, status, headers)
    }
}
