//! Fetches of manifests, each made once for all who want it, checked, and kept.
//!
//! What is kept was shown to everybody. A user's credential never gets here.

use super::answer::Answer;
use super::body::collect_up_to;
use super::flights::Flights;
use super::follow::Followed;
use super::quota::{self, LastWord};
use super::registry::Registry;
use super::retry::Patience;
use super::shared_request;
use super::small_answer::SmallAnswer;
use crate::store::{Key, Manifest, Store};
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use tokio::time::Instant;

/// The fetches of one registry.
#[derive(Debug)]
pub(super) struct Fetches {
    name: RegistryName,
    registry: Arc<Registry>,
    store: Store,
    quota: Arc<LastWord>,
    flights: Flights<Wanted, Result<Got, Fault>>,
}

/// What came of a fetch.
#[derive(Debug, Clone)]
pub(super) enum Got {
    /// It was checked, and is kept. The headers are the answer's.
    Manifest(Arc<Manifest>, Headers),
    /// The registry said something else.
    Other(SmallAnswer),
}

/// What is fetched. A registry may choose by `Accept` what a tag stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wanted {
    repository: Repository,
    reference: Reference,
    accept: Vec<HeaderValue>,
}

impl Fetches {
    pub(super) fn new(
        name: RegistryName,
        registry: Arc<Registry>,
        store: Store,
        quota: Arc<LastWord>,
    ) -> Self {
        Self { name, registry, store, quota, flights: Flights::new() }
    }

    /// What comes of asking for a manifest. `shown` if the registry has just shown it to everybody.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn fetch(
        &self,
        request: &Request,
        repository: &Repository,
        reference: &Reference,
        shown: bool,
    ) -> Result<Got, Fault> {
        let accept = request.headers.map().get_all(header::ACCEPT).iter().cloned().collect();
        let wanted = Wanted { repository: repository.clone(), reference: reference.clone(), accept };
        let request = shared_request::for_manifest(request, repository, reference, Method::Get);
        let fetch = Fetch {
            name: self.name.clone(),
            registry: Arc::clone(&self.registry),
            store: self.store.clone(),
            quota: Arc::clone(&self.quota),
            request,
            shown,
        };
        self.flights.join(wanted, || fetch.run()).await
    }
}

/// One fetch, which lives as long as anybody waits for it.
struct Fetch {
    name: RegistryName,
    registry: Arc<Registry>,
    store: Store,
    quota: Arc<LastWord>,
    request: Request,
    shown: bool,
}

impl Fetch {
    async fn run(self) -> Result<Got, Fault> {
        let Self { name, registry, store, quota, request, shown } = self;
        let Followed { hop, response } = registry.manifest(&request, shown, patience()).await?;
        let encoded = response.headers().get(header::CONTENT_ENCODING).is_some_and(|e| e != "identity");
        let said = digest_of(response.headers().get(&DOCKER_CONTENT_DIGEST));
        if response.status() != StatusCode::OK || encoded {
            let answer = Answer::of(hop, &request.operation, response, None).await?;
            quota.note(&answer.headers);
            return Ok(Got::Other(SmallAnswer::of(answer)));
        }
        let (head, body) = response.into_parts();
        let headers = Headers::filter_response(&head.headers);
        quota.note(&headers);
        let bytes = collect_up_to(MANIFEST_MAX, hop, body).await?;
        let (asked, repository) = match request.operation {
            Operation::Manifest { reference: Reference::Digest(digest), repository, .. } => {
                (Some(digest), repository)
            }
            Operation::Manifest { repository, .. } => (None, repository),
            _ => return Err(Fault::new(Hop::Server, FaultKind::Internal, "a fetch of what is no manifest")),
        };
        let digest = asked.or(said).unwrap_or_else(|| Digester::sha256().digest(&bytes));
        let lasting = quota::without_passing_fields(headers.clone());
        let manifest = Manifest::check(digest.clone(), lasting, bytes).await.map_err(|wrong| {
            Fault::new(
                hop,
                FaultKind::MalformedResponse,
                format!("sends a manifest that was not kept: {wrong}"),
            )
        })?;
        let manifest = Arc::new(manifest);
        store.put(&Key::new(&name, &repository, digest), &manifest).await;
        Ok(Got::Manifest(manifest, headers))
    }
}

/// How long a manifest is asked for.
pub(super) fn patience() -> Patience {
    Patience::from(Instant::now())
}

/// The digest that an answer names.
pub(super) fn digest_of(value: Option<&HeaderValue>) -> Option<Digest> {
    value?.to_str().ok()?.parse().ok()
}
