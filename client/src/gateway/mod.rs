//! Sends requests of engines to the registries: through the tunnel, or from the cache.
//!
//! An error makes an engine try the origin, which it cannot reach. So a request waits for the tunnel, and is
//! sent again if the connection was lost before the response.

pub use crate::metadata::rate_limit::ReportedLimit;
pub(crate) use crate::transfer::{Transfer, TransferEvent};
pub use crate::transfer::{TransferRegistry, TransferSnapshot, WaitsFor};
pub use crate::tunnel::Deadline;
pub use account::TokenKind;
pub(crate) use account::UsedAccount;
pub use blobs::BlobCache;
pub(crate) use blobs::KeepError;
pub use engine::Engine;
pub use report::{LineState, ServerReport, SessionState, TunnelState};
pub use response_deadline::ResponseDeadline;

mod account;
mod blobs;
mod engine;
mod forward;
mod metrics;
mod observe;
mod pull_log;
mod report;
mod response_deadline;

use crate::accounts::credentials::{Credentials, TokenSource};
use crate::accounts::logins::Logins;
use crate::local_api::RunningClient;
use crate::metadata::Metadata;
use crate::settings::GivenSettings;
use crate::status::counters::TransferCounters;
use crate::status::pulls::Wanted;
use crate::transfer::neighbours::Neighbours;
use crate::transfer::{StallTimeout, TransferContext, TransferGuard};
use crate::tunnel::{Need, Tunnel};
use account::{CredentialUse, PrivateRepositories, UsedUpLimits};
use bytes::Bytes;
use docxy_host::blob_store::BlobStore;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::PATIENCE_MAX;
use docxy_protocol::name::{Digest, Registry};
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::token_response::TokenResponse;
use http::{Response, StatusCode, header};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a registry may take to send its challenge while no request waits for it.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request of this program waits for the tunnel: a handshake over a bad path, and several attempts.
const OWN_SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// What pulls without an engine.
const OWN_NAME: &str = "docxy-client pull";

/// What pulls before an engine does.
const BACKGROUND_NAME: &str = "docxy-client warm";

/// Sends requests to the registries. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gateway {
    context: TransferContext,
    credential_use: CredentialUse,
    used_up_limits: UsedUpLimits,
    private_repositories: PrivateRepositories,
    logins: Logins,
    blob_cache: BlobCache,
}

impl Gateway {
    /// A gateway that uses this tunnel and `metadata`. An interrupted body waits up to `stall_timeout` for
    /// its next byte.
    #[must_use]
    pub fn new(tunnel: Tunnel, stall_timeout: Duration, metadata: Metadata) -> Self {
        let counters = TransferCounters::default();
        let context = TransferContext {
            tunnel,
            running: None,
            stall_timeout: StallTimeout::new(stall_timeout.into()),
            credentials: Credentials::default(),
            registry: TransferRegistry::new(Arc::clone(&counters)),
            metadata,
            counters,
            outages: Arc::default(),
            blobs: None,
            neighbours: Neighbours::default(),
        };
        Self {
            context,
            credential_use: CredentialUse::default(),
            used_up_limits: UsedUpLimits::default(),
            private_repositories: PrivateRepositories::default(),
            logins: Logins::default(),
            blob_cache: BlobCache::not_opened(),
        }
    }

    /// The same, which keeps blobs on the disk.
    #[must_use]
    pub fn with_blob_cache(mut self, blob_cache: BlobCache) -> Self {
        self.context.blobs = blob_cache.blobs();
        Self { blob_cache, ..self }
    }

    /// The same, which asks these neighbours for public layers.
    #[must_use]
    pub fn with_neighbours(mut self, neighbours: Neighbours) -> Self {
        self.context.neighbours = neighbours;
        self
    }

    /// The other clients in this network, for `/health`.
    pub(crate) fn neighbours(&self) -> serde_json::Value {
        self.context.neighbours.to_json()
    }

    /// The same with these logins, for engines on this machine that show no credential.
    #[must_use]
    pub fn with_logins(self, logins: Logins) -> Self {
        Self { logins, ..self }
    }

    /// The same beside a running client, which serves blobs until a session is requested.
    #[must_use]
    pub(crate) fn beside(mut self, running: Option<RunningClient>) -> Self {
        self.context.running = running.map(Arc::new);
        self
    }

    /// The running client, until a session was requested.
    pub(crate) fn running_client(&self) -> Option<&RunningClient> {
        self.context.running_client()
    }

    /// Makes all requests use this server while it is well; `None` leaves the choice to the client. Returns whether it is
    /// known.
    pub(crate) fn prefer(&self, server: Option<&str>) -> bool {
        self.context.tunnel.prefer(server)
    }

    /// Writes what is not in the files yet.
    pub(crate) async fn close_blobs(&self) {
        self.blob_cache.close().await;
    }

    /// The blobs on the disk, or why there are none.
    pub(crate) fn blob_store(&self) -> Result<BlobStore, String> {
        self.blob_cache.store()
    }

    /// How long an interrupted body waits for its next byte.
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        *self.context.stall_timeout.read()
    }

    /// Sets how long interrupted bodies wait, including those that wait already.
    pub(crate) fn set_stall_timeout(&self, stall_timeout: Duration) {
        *self.context.stall_timeout.write() = stall_timeout;
    }

    /// A response of this status went to an engine.
    pub(crate) fn count_response(&self, status: StatusCode) {
        self.context.counters.responses.increment(status);
    }

    /// Records how an engine got a token of this registry.
    pub(crate) fn record_token(&self, registry: &Registry, engine: &Engine, kind: TokenKind) {
        self.credential_use.record(registry, engine, kind, Instant::now());
    }

    /// Remembers how these tokens were obtained. They may be sent to that registry only, and can be renewed
    /// when they expire.
    pub(crate) fn remember_tokens(&self, response: &TokenResponse, source: &TokenSource) {
        self.context.credentials.remember(response, source, Instant::now());
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(crate) fn may_send(&self, request: &Request) -> bool {
        self.context.credentials.may_send(request)
    }

    /// Sends a request of an engine and returns the response, whose body is not received yet. The response head must
    /// arrive before `deadline`, so that the engine receives a fault that names the hop instead of a timeout of its
    /// own. A request for content without a credential is answered as an anonymous one, unless the engine used a
    /// credential for its last token.
    ///
    /// # Errors
    /// A fault that names the hop that failed: the tunnel, if it was not up in time.
    pub async fn send(
        &self,
        request: Request,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        engine.name().inspect(|name| self.context.counters.engines.increment(name));
        let request = request.without_foreign_credentials();
        let wanted = Wanted::of(&request, engine.name());
        let has_credential = self.credential_use.is_known(&request.registry, engine, Instant::now());
        let login = if has_credential { None } else { self.login_for(&request, engine, deadline).await };
        let sent = match login {
            Some(login) => self.send_with_login(request, login, engine, deadline).await,
            None => self.send_without_login(request, engine, has_credential, deadline).await,
        };
        if let Some(wanted) = wanted {
            let (recent, image) = (&self.context.counters.recent, wanted.image());
            match &sent {
                Err(fault) => {
                    self.context.registry.failed(&wanted, fault);
                    recent.record_fault(fault, Some(image));
                }
                Ok(response) if is_refusal(response.status()) => {
                    recent.record_refusal(response.status(), image);
                }
                Ok(_) => {}
            }
        }
        sent
    }

    async fn send_without_login(
        &self,
        request: Request,
        engine: &Engine,
        has_credential: bool,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let guard = self.context.registry.begin(&request, engine.name());
        if account::is_for_content(&request) && !has_credential {
            return self.send_anonymously(request, deadline, guard).await;
        }
        let metadata = &self.context.metadata;
        if !self.may_send(&request) {
            // Any local program can cause it, so it is not logged by default.
            tracing::debug!(registry = %request.registry, "token withheld: not issued by this registry");
            let response = metadata.invalid_token_response(&request).ok_or_else(challenge_fault)?;
            self.session(Need::ANY, None, deadline, &guard).await?;
            return Ok(without_tunnel(response, guard));
        }
        if let Some(response) = metadata.challenge_response(&request) {
            // Fail now: without a tunnel the token request would fail too.
            if !engine.hides_ping_faults() {
                self.session(Need::ANY, None, deadline, &guard).await?;
            }
            self.refresh(&request.registry);
            self.context.counters.local_responses.increment();
            return Ok(without_tunnel(response, guard));
        }
        self.send_permitted(request, deadline, guard).await
    }

    /// Whether the tunnel has the settings that a command names.
    pub(crate) fn has_settings(&self, given: &GivenSettings) -> bool {
        given.are_those_of(&self.context.tunnel.config())
    }

    /// Ends when no server can accept this client any more until its links change, or an operator changes that.
    pub(crate) async fn is_refused(&self) {
        self.context.tunnel.is_refused().await;
    }

    /// Sends a request of this program itself: see [`Self::send`].
    ///
    /// # Errors
    /// A fault that names the hop that failed.
    pub async fn send_own(&self, request: Request) -> Result<Response<Transfer>, Fault> {
        let guard = self.begin_own(&request);
        self.send_listed(request, guard).await
    }

    /// Lists a request of this program itself.
    pub(crate) fn begin_own(&self, request: &Request) -> TransferGuard {
        let name = if request.is_in_background() { BACKGROUND_NAME } else { OWN_NAME };
        self.context.registry.begin(request, Some(name))
    }

    /// The same for a request that is listed already.
    pub(crate) async fn send_listed(
        &self,
        request: Request,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        self.send_permitted(request, own_deadline(), guard).await
    }

    /// Answers from the cache, or through the tunnel. The registry may receive the request's credential.
    async fn send_permitted(
        &self,
        mut request: Request,
        deadline: ResponseDeadline,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        let metadata = &self.context.metadata;
        if let Some(content) = metadata.cached_content(&request, deadline.head(Instant::now())).await {
            self.context.counters.local_responses.increment();
            return Ok(without_tunnel(content, guard));
        }
        if let (Some(blobs), Operation::Blob { .. }) = (&self.context.blobs, &request.operation) {
            return self.send_blob(blobs, request, deadline, guard).await;
        }
        request.prefetch = metadata.policy.hint_for(&request, &metadata.cache).await;
        let is_in_background = request.is_in_background();
        if let Some(hint) = &mut request.prefetch
            && (self.context.blobs.is_none() || self.context.neighbours.are_known() || is_in_background)
        {
            // They would have no place, a neighbour may have them, or they would come before content for which an engine
            // waits.
            hint.layer_segments = 0;
        }
        self.forward(request, deadline, guard).await
    }

    /// These bytes, to its end, of the blob that the request is for, and whose length an image names: from the cache, or
    /// requested when they are read. No fault ends them that another attempt within the stall timeout may mend. The whole blob
    /// is compared with its digest; who reads less must do that.
    pub(crate) async fn blob(&self, mut request: Request, bytes: Range<u64>) -> Transfer {
        let guard = self.begin_own(&request);
        request.trace = guard.trace();
        let until = Instant::now() + self.stall_timeout();
        match self.context.metadata.cached_content(&request, until).await {
            Some(response) if response.body().len() as u64 == bytes.end => {
                self.context.counters.local_responses.increment();
                guard.set_cached();
                // It is not after the end of bytes that are in memory.
                Transfer::of_bytes(response.into_body().slice(bytes.start as usize..), guard)
            }
            _ => match self.stored(&request, &bytes).await {
                Some(reader) => Transfer::of_shared(&self.context, reader, guard),
                None => Transfer::of_blob(&self.context, request, bytes, guard),
            },
        }
    }

    /// Requests the challenge of a registry in the background if the known one is old.
    fn refresh(&self, registry: &Registry) {
        if self.context.metadata.challenges.refresh_is_due(registry, Instant::now()) {
            let gateway = self.clone();
            let request = Request::new(registry.clone(), Operation::Ping);
            // `forward` stores the challenge of the response, as of all responses.
            let guard = self.context.registry.begin(&request, None);
            let deadline = ResponseDeadline::after(REFRESH_TIMEOUT);
            let forwarded = async move { gateway.forward(request, deadline, guard).await };
            tokio::spawn(async move { forwarded.await.map(drop) });
        }
    }
}

/// Until when a request of this program waits.
fn own_deadline() -> ResponseDeadline {
    ResponseDeadline::patient(Deadline::including_first_connect(OWN_SESSION_TIMEOUT), PATIENCE_MAX)
}

/// A response that did not use the tunnel.
fn without_tunnel(response: Response<Bytes>, guard: TransferGuard) -> Response<Transfer> {
    guard.proceed();
    guard.set_cached();
    let digest = Digest::of_response(response.headers());
    guard.answered(response.status(), digest.as_ref());
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let (Some(digest), Some(content_type)) = (digest, content_type) {
        guard.manifest(&digest, response.body(), content_type);
    }
    response.map(|body| Transfer::of_bytes(body, guard))
}

/// Whether a status refuses an image. Engines follow a challenge, which a 401 is.
fn is_refusal(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The challenge is not a valid header value. Only a bug can cause this.
fn challenge_fault() -> Fault {
    Fault::new(Hop::Tunnel, FaultKind::Internal, "the challenge is not a valid header value")
}
