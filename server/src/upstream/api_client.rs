//! Sends requests to a registry's API, and retries after failures that may be transient.

use super::error::UpstreamError;
use super::http::address_guard::AddressGuard;
use super::http::client::HttpClient;
use super::http::credentials::Credentials;
use super::http::redirect::{ChainRequest, UpstreamResponse, follow_redirects};
use super::http::retry::{RETRY_SCHEDULE, RetryDeadline, failure_of};
use super::http::target::Target;
use super::request_counts::RequestCounts;
use crate::settings::{RegistrySettings, Settings};
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::retry_after::retry_after;
use hyper::body::Body as _;
use rustls::RootCertStore;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::{Origin, Url};

/// Maximum number of KiB of manifests in memory while they are read: each is read whole before a byte is
/// forwarded.
const MANIFEST_READ_BUDGET_KIB: usize = 32 * 1024;

/// A client for one registry's API.
#[derive(Debug)]
pub(super) struct ApiClient {
    url: Url,
    http: HttpClient,
    /// For hosts that a stranger named: no private address is exempt.
    http_for_strangers: HttpClient,
    manifest_read_budget: Semaphore,
    counts: Arc<RequestCounts>,
}

impl ApiClient {
    /// # Errors
    /// If a CA certificate of the settings cannot be used.
    pub(super) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let mut roots = roots.clone();
        for certificate in &entry.ca {
            roots.add(certificate.clone())?;
        }
        let guard = AddressGuard::new(entry, settings);
        let counts = Arc::<RequestCounts>::default();
        let http_for_strangers =
            HttpClient::new(guard.without_exemptions(), roots.clone(), Arc::clone(&counts))?;
        let http = HttpClient::new(guard, roots, Arc::clone(&counts))?;
        let manifest_read_budget = Semaphore::new(MANIFEST_READ_BUDGET_KIB);
        Ok(Self { url: entry.api.clone(), http, http_for_strangers, manifest_read_budget, counts })
    }

    /// The requests to its hosts.
    pub(super) fn counts(&self) -> &RequestCounts {
        &self.counts
    }

    /// Sends a request with these credentials, and follows redirects.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(super) async fn send(
        &self,
        request: &Request,
        credentials: &Credentials,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let path = request
            .operation
            .path()
            .ok_or_else(|| UpstreamError::internal("a token request has no path on the registry"))?;
        let method = match request.operation.method() {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        let chain = ChainRequest { method, headers: request.headers.clone().into(), ..self.request(&path)? };
        let is_blob = matches!(request.operation, Operation::Blob { .. });
        let is_manifest = matches!(request.operation, Operation::Manifest { method: Method::Get, .. });
        let attempt = || async {
            let until = deadline.response_until();
            let response = follow_redirects(&self.http, chain.clone(), credentials, until).await?;
            if is_manifest { self.read_manifest(response, deadline).await } else { Ok(response) }
        };
        self.with_retry(deadline, is_blob, attempt).await
    }

    /// Makes attempts until one succeeds, fails permanently, or the deadline has passed. Every request
    /// only reads, or is for a token, so it may be repeated. But each `GET` of a manifest counts
    /// against the rate limit.
    ///
    /// # Errors
    /// The last attempt's error.
    pub(super) async fn with_retry<F>(
        &self,
        mut deadline: RetryDeadline,
        is_blob: bool,
        attempt: impl Fn() -> F,
    ) -> Result<UpstreamResponse, UpstreamError>
    where
        F: Future<Output = Result<UpstreamResponse, UpstreamError>>,
    {
        let mut backoff = Backoff::new(RETRY_SCHEDULE);
        let mut was_silent = false;
        loop {
            let started = Instant::now();
            let result = attempt().await;
            let (failure, retry_after) = match &result {
                Ok(UpstreamResponse { hop, response, .. }) => {
                    (failure_of(*hop, response.status(), is_blob), retry_after(response.headers()))
                }
                Err(error) => (Some(error.clone()), None),
            };
            let Some(failure) = failure.filter(UpstreamError::is_transient) else { return result };
            let may_extend = match failure.fault.kind {
                FaultKind::Truncated => true,
                // The body was silent: the wait for a head ends with the deadline. Another host may do better, but a
                // second silence says that none does.
                FaultKind::TimedOut => !std::mem::replace(&mut was_silent, true),
                _ => false,
            };
            if may_extend {
                deadline = deadline.extended_by(started.elapsed());
            }
            let now = Instant::now();
            let Some(delay) = deadline.delay_before_retry(&mut backoff, now, random_fraction(), retry_after)
            else {
                return result;
            };
            // Dropping a response closes its connection.
            drop(result);
            self.counts.retried(&failure.fault);
            tracing::debug!(reason = %failure, delay_ms = delay.as_millis(), "retrying the request");
            tokio::time::sleep(delay).await;
        }
    }

    /// A `GET` for a path on the registry.
    ///
    /// # Errors
    /// Only by a bug: typed names are safe in a path.
    pub(super) fn request(&self, path: &str) -> Result<ChainRequest, UpstreamError> {
        let target = Target::of(&self.url)?.resolve(Hop::Registry, path.as_bytes())?;
        Ok(ChainRequest::get(Hop::Registry, target))
    }

    /// The HTTP client for all hosts of this registry.
    pub(super) const fn http(&self) -> &HttpClient {
        &self.http
    }

    /// The HTTP client for a host that this origin named. Only the registry itself, and the private hosts that the
    /// operator has listed for it, may name a host in the server's own network.
    pub(super) fn http_for_host_named_by(&self, origin: &Origin) -> &HttpClient {
        let is_trusted = *origin == self.origin() || self.http.guard().exempts(origin);
        if is_trusted { &self.http } else { &self.http_for_strangers }
    }

    /// Replaces the guard for new connections.
    pub(super) fn set_guard(&self, guard: AddressGuard) {
        self.http_for_strangers.set_guard(guard.without_exemptions());
        self.http.set_guard(guard);
    }

    /// The scheme, host and port of its API.
    pub(super) fn origin(&self) -> Origin {
        self.url.origin()
    }

    /// The API's URL, for people.
    pub(super) fn display_url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The same response with the whole manifest in memory. A body that moves may take as long as the deadline
    /// allows, so a slow registry holds its own budget, and no other's, for so long.
    async fn read_manifest(
        &self,
        response: UpstreamResponse,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let length = response.response.body().size_hint().exact().unwrap_or(MANIFEST_BYTES_MAX as u64);
        let kib =
            u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).min(MANIFEST_READ_BUDGET_KIB as u32);
        let until = deadline.response_until();
        let permit = tokio::time::timeout_at(until, self.manifest_read_budget.acquire_many(kib)).await;
        // Held until the body has been read. The semaphore is never closed.
        let _permit = permit.map_err(|_| {
            UpstreamError::new(response.hop, FaultKind::Overloaded, "too many manifests are being received")
        })?;
        response.read_body(MANIFEST_BYTES_MAX, until).await
    }
}
