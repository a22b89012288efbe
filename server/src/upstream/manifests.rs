//! The manifests of one registry, for those who show no credential: paid for once, and then answered
//! from the store.
//!
//! A tag is looked up by `HEAD`, which is free, and fetched only where what it names isn't kept. What
//! is kept was shown to everybody, and hashes to its digest. A user's credential never gets here.

use super::answer::{Answer, AnswerBody};
use super::fetches::{Fetches, Got, digest_of, patience};
use super::follow::Followed;
use super::quota::{self, LastWord, Quota};
use super::registry::Registry;
use super::shared_request;
use super::small_answer::SmallAnswer;
use crate::store::{Key, Lru, Manifest, Store};
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName, Repository, Tag};
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderValue, StatusCode, header};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of tags that are remembered, for a registry: some five thousand.
const TAGS: usize = 2 * 1024 * 1024;

/// What a tag takes beside its names and its digest, roughly: its names are held twice.
const TAG_OVERHEAD: usize = 256;

static STALE: HeaderValue = HeaderValue::from_static("110 docxy \"Response is Stale\"");

/// The manifests of one registry.
#[derive(Debug)]
pub(super) struct Manifests {
    name: RegistryName,
    registry: Arc<Registry>,
    store: Store,
    /// Whether a tag may be answered with what it named before, when no pull is left.
    stale: AtomicBool,
    fetches: Fetches,
    quota: Arc<LastWord>,
    /// The manifests that tags named last, of those that are kept.
    tags: Mutex<Lru<(Repository, Tag), Digest>>,
}

/// A request for a manifest, taken apart.
struct Asked<'a> {
    request: &'a Request,
    repository: &'a Repository,
    reference: &'a Reference,
    method: Method,
}

impl Manifests {
    pub(super) fn new(name: RegistryName, registry: Arc<Registry>, store: Store, stale: bool) -> Self {
        let quota = Arc::<LastWord>::default();
        let fetches = Fetches::new(name.clone(), Arc::clone(&registry), store.clone(), Arc::clone(&quota));
        let stale = AtomicBool::new(stale);
        Self { name, registry, store, stale, fetches, quota, tags: Mutex::new(Lru::new(TAGS)) }
    }

    /// Whether a tag may be answered with what it named before, from now on.
    pub(super) fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Relaxed);
    }

    fn may_be_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Answers a request for a manifest that nobody in particular makes; `None` where it is none, or
    /// one that only the registry itself can answer.
    pub(super) async fn ask(&self, request: &Request) -> Option<Result<Answer, Fault>> {
        let Operation::Manifest { repository, reference, method } = &request.operation else { return None };
        if request.headers.is_conditional() {
            return None;
        }
        let asked = Asked { request, repository, reference, method: *method };
        Some(match reference {
            Reference::Digest(digest) => self.by_digest(&asked, digest).await,
            Reference::Tag(tag) => self.by_tag(&asked, tag).await,
        })
    }

    /// A manifest by its digest, for whoever goes on behind an answer: from the store, or by the one
    /// `GET` that the engine would have made. `shown` if the registry has just shown it to everybody.
    pub(super) async fn get(&self, request: &Request, digest: &Digest, shown: bool) -> Option<Arc<Manifest>> {
        let repository = request.operation.repository()?;
        if let Some(kept) = self.store.get(&self.key(repository, digest)).await {
            return Some(kept);
        }
        match self.fetches.fetch(request, repository, &Reference::Digest(digest.clone()), shown).await {
            Ok(Got::Manifest(manifest, _)) => Some(manifest),
            Ok(Got::Other(_)) | Err(_) => None,
        }
    }

    /// Remembers that a tag names a manifest that is kept.
    pub(super) fn remember(&self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let size = repository.as_str().len() + tag.as_str().len() + digest.as_str().len() + TAG_OVERHEAD;
        self.lock_tags().insert((repository.clone(), tag.clone()), digest.clone(), size);
    }

    async fn by_digest(&self, asked: &Asked<'_>, digest: &Digest) -> Result<Answer, Fault> {
        if let Some(kept) = self.store.get(&self.key(asked.repository, digest)).await
            && is_acceptable(&asked.request.headers, &kept)
        {
            return Ok(self.answer_of(asked, &kept, kept.headers.clone()));
        }
        if asked.method == Method::Head {
            return self.look(asked).await.map(|looked| looked.answer);
        }
        let got = self.fetches.fetch(asked.request, asked.repository, asked.reference, false).await?;
        Ok(self.answer_got(asked, got))
    }

    async fn by_tag(&self, asked: &Asked<'_>, tag: &Tag) -> Result<Answer, Fault> {
        let may_be_kept = self.store.knows(&self.name, asked.repository);
        // Where nothing can be kept, a look would only cost time; whoever pays with an account looks
        // first what everybody may see.
        if asked.method == Method::Get && !may_be_kept && !self.registry.operator_may_pay() {
            return self.fetch_tag(asked, tag).await;
        }
        let Looked { answer, digest } = self.look(asked).await?;
        if let Some(digest) = digest.filter(|_| answer.status == StatusCode::OK) {
            return self.by_looked_up(asked, tag, answer, &digest).await;
        }
        match (asked.method, answer.status) {
            (Method::Head, StatusCode::TOO_MANY_REQUESTS) => {
                Ok(self.stale(asked, tag).await.unwrap_or(answer))
            }
            (Method::Head, _) => Ok(answer),
            // Another request would be answered no better.
            (Method::Get, status) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                self.used_up(asked, tag, SmallAnswer::without_words(answer)).await
            }
            // Its words are what the engine prints, and a HEAD has none.
            (Method::Get, _) => self.registry.ask(asked.request).await,
        }
    }

    /// Goes on after a look that has shown what a tag names.
    async fn by_looked_up(
        &self,
        asked: &Asked<'_>,
        tag: &Tag,
        look: Answer,
        digest: &Digest,
    ) -> Result<Answer, Fault> {
        let kept = self.store.get(&self.key(asked.repository, digest)).await;
        if let Some(kept) = kept {
            self.remember(asked.repository, tag, digest);
            return Ok(match asked.method {
                Method::Head => look,
                Method::Get => self.answer_of(asked, &kept, look.headers),
            });
        }
        if asked.method == Method::Head {
            // The pull that this engine is about to make would fail.
            let gone = self.may_be_stale() && Quota::of(&look.headers).is_some_and(|quota| quota.is_gone());
            let stale = if gone { self.stale(asked, tag).await } else { None };
            return Ok(stale.unwrap_or(look));
        }
        // By its digest: the tag may move at any moment, and then this would be another manifest.
        let reference = Reference::Digest(digest.clone());
        match self.fetches.fetch(asked.request, asked.repository, &reference, true).await? {
            // It has moved, and the registry doesn't keep what it named.
            Got::Other(said) if said.status == StatusCode::NOT_FOUND => {
                self.registry.ask(asked.request).await
            }
            Got::Other(said) => self.used_up(asked, tag, said).await,
            got @ Got::Manifest(..) => {
                self.remember(asked.repository, tag, digest);
                Ok(self.answer_got(asked, got))
            }
        }
    }

    async fn fetch_tag(&self, asked: &Asked<'_>, tag: &Tag) -> Result<Answer, Fault> {
        match self.fetches.fetch(asked.request, asked.repository, asked.reference, false).await? {
            Got::Other(said) => self.used_up(asked, tag, said).await,
            Got::Manifest(manifest, headers) => {
                self.remember(asked.repository, tag, &manifest.digest);
                Ok(self.answer_got(asked, Got::Manifest(manifest, headers)))
            }
        }
    }

    /// What is said about a tag: where no pull is left and the operator wants it so, what it named
    /// before.
    async fn used_up(&self, asked: &Asked<'_>, tag: &Tag, said: SmallAnswer) -> Result<Answer, Fault> {
        let stale = match said.status {
            StatusCode::TOO_MANY_REQUESTS => self.stale(asked, tag).await,
            _ => None,
        };
        Ok(stale.unwrap_or_else(|| self.answer_got(asked, Got::Other(said))))
    }

    async fn stale(&self, asked: &Asked<'_>, tag: &Tag) -> Option<Answer> {
        if !self.may_be_stale() {
            return None;
        }
        let digest = self.lock_tags().get(&(asked.repository.clone(), tag.clone())).cloned()?;
        let kept = self.store.get(&self.key(asked.repository, &digest)).await?;
        tracing::info!(%digest, "no pull is left: answering with what the tag named before");
        let mut answer = self.answer_of(asked, &kept, kept.headers.clone());
        answer.headers.set(header::WARNING, STALE.clone());
        Some(answer)
    }

    /// Asks what everybody may see of a manifest, without its content.
    async fn look(&self, asked: &Asked<'_>) -> Result<Looked, Fault> {
        let Asked { request, repository, reference, .. } = *asked;
        let look = shared_request::for_manifest(request, repository, reference, Method::Head);
        let Followed { hop, response } = self.registry.look(&look, patience()).await?;
        let digest = digest_of(response.headers().get(&DOCKER_CONTENT_DIGEST));
        let answer = Answer::of(hop, &look.operation, response, None).await?;
        if !self.registry.operator_may_pay() {
            self.quota.note(&answer.headers);
        }
        Ok(Looked { answer, digest })
    }

    /// An answer with what is kept.
    fn answer_of(&self, asked: &Asked<'_>, kept: &Manifest, mut headers: Headers) -> Answer {
        self.quota.put_on(&mut headers);
        headers.set(header::CONTENT_LENGTH, HeaderValue::from(kept.bytes.len()));
        let body = match asked.method {
            Method::Get => AnswerBody::Small(kept.bytes.clone()),
            Method::Head => AnswerBody::None,
        };
        Answer { status: StatusCode::OK, headers, body }
    }

    fn answer_got(&self, asked: &Asked<'_>, got: Got) -> Answer {
        match got {
            Got::Manifest(manifest, headers) => self.answer_of(asked, &manifest, headers),
            Got::Other(SmallAnswer { status, mut headers, mut body }) => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    body = quota::explained(&self.name, &headers, &body).into();
                    headers.set(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                headers.set(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                Answer { status, headers, body: AnswerBody::Small(body) }
            }
        }
    }

    fn key(&self, repository: &Repository, digest: &Digest) -> Key {
        Key::new(&self.name, repository, digest.clone())
    }

    fn lock_tags(&self) -> MutexGuard<'_, Lru<(Repository, Tag), Digest>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look has shown.
struct Looked {
    answer: Answer,
    digest: Option<Digest>,
}

/// Whether an engine takes a manifest of this type. A registry may answer that there is none for
/// those who don't.
fn is_acceptable(headers: &Headers, manifest: &Manifest) -> bool {
    let Some(own) = manifest.content_type() else { return false };
    let own = own.split(';').next().unwrap_or(own).trim();
    let mut lines = headers.map().get_all(header::ACCEPT).iter().peekable();
    lines.peek().is_none()
        || lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(|range| range.split(';').next().unwrap_or(range).trim())
            .any(|range| range == own || matches!(range, "*/*" | "application/*"))
}
