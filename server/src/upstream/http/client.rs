//! The HTTP client of one registry: sends one request to one host, through a pool of connections that
//! share the address guard, the trusted roots and the timeouts.
//!
//! Users may read the faults made here, so these must never contain a URL's query: on a CDN it is a
//! signature.

mod connector;
mod requested_hosts;

use super::address_guard::AddressGuard;
use super::request_fault::request_fault;
use super::target::Target;
use crate::upstream::error::UpstreamError;
use crate::upstream::request_counts::RequestCounts;
use bytes::Bytes;
use connector::Connector;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::secret::Secret;
use http::{HeaderValue, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use requested_hosts::RequestedHosts;
use rustls::RootCertStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// How long an idle connection stays in the pool. Docker Hub closes idle connections after 60 s or
/// more. Closing them earlier avoids sending a request on a connection that is about to end.
pub(crate) const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Maximum number of idle connections in the pool for each host. A redirected blob leaves an idle connection to
/// the registry: without a limit there could be
/// [`docxy_protocol::limits::UPSTREAM_REQUESTS_MAX`] of them, each with a file descriptor.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 32;

/// Maximum number of hosts whose TLS sessions are cached for resumption. A registry has few hosts, but its
/// responses may name any number, and a session's tickets may take half a megabyte.
const TLS_SESSION_CACHE_MAX: usize = 32;

/// Maximum number of bytes of a body that one connection buffers. hyper's default is 408 KiB, which is too much
/// for many transfers whose clients read slowly.
const READ_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// The `User-Agent` of the server's own requests. Some registries answer 403 to a request without one.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("docxy-server/", env!("CARGO_PKG_VERSION")));

/// Sends requests to the hosts of one registry.
#[derive(Debug)]
pub(crate) struct HttpClient {
    /// The root URL of the CDN that the registry last redirected to.
    last_cdn: Mutex<Option<Url>>,
    tls: rustls::ClientConfig,
    connector: Connector,
    pool: Mutex<Pool>,
    counts: Arc<RequestCounts>,
}

type PooledClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The connections, and the hosts that they may lead to.
#[derive(Debug)]
struct Pool {
    client: PooledClient,
    requested_hosts: RequestedHosts,
}

impl HttpClient {
    /// # Errors
    /// If the crypto provider does not support TLS 1.2 and 1.3, which would be a bug.
    pub(crate) fn new(
        guard: AddressGuard,
        roots: RootCertStore,
        counts: Arc<RequestCounts>,
    ) -> Result<Self, rustls::Error> {
        let mut tls = rustls::ClientConfig::builder_with_provider(docxy_protocol::tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSION_CACHE_MAX);
        let connector = Connector::new(guard);
        let pool = Mutex::new(Pool::new(tls.clone(), connector.clone()));
        Ok(Self { last_cdn: Mutex::default(), tls, connector, pool, counts })
    }

    /// The guard of new connections.
    pub(crate) fn guard(&self) -> AddressGuard {
        self.connector.guard()
    }

    /// Replaces the guard for new connections. If a pooled connection may lead to a host whose address or
    /// permission has changed, or through another proxy, the whole pool is replaced: connections in use end after
    /// their transfer.
    pub(crate) fn set_guard(&self, guard: AddressGuard) {
        let changed = self.guard().changed_hosts(&guard);
        let is_proxy_changed = self.guard().proxy() != guard.proxy();
        if changed.is_empty() && !is_proxy_changed {
            return;
        }
        // Before the pool is checked, so that no connection is made with the old guard afterwards.
        self.connector.set_guard(guard);
        let mut pool = self.pool.lock();
        if is_proxy_changed || changed.iter().any(|host| pool.requested_hosts.contains(host)) {
            *pool = Pool::new(self.tls.clone(), self.connector.clone());
        }
    }

    /// Sends a request and waits for the response's head. An engine's `User-Agent` stays.
    ///
    /// # Errors
    /// If the URL must not be dialed, the host cannot be reached, or the head has not arrived by `until`.
    pub(crate) async fn send(
        &self,
        hop: Hop,
        target: &Target,
        mut request: http::Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<http::Response<Incoming>, UpstreamError> {
        let url = target.origin();
        let host = url.host().ok_or_else(|| refused(hop, "a URL without a host"))?;
        let is_plain_https = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        if !is_plain_https {
            let host = shown_host(&host);
            return Err(refused(hop, format!("{host} must not be dialed (HTTPS to public addresses only)")));
        }
        *request.uri_mut() = target.uri().clone();
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let sent = Instant::now();
        match tokio::time::timeout_at(until, self.client_for(&host.to_string()).request(request)).await {
            Ok(Ok(response)) => {
                self.counts.requested(hop, Some(response.status()));
                if hop == Hop::Cdn {
                    *self.last_cdn.lock() = Some(url.clone());
                }
                Ok(response)
            }
            Ok(Err(error)) => {
                self.counts.requested(hop, None);
                Err(request_fault(hop, &host, error))
            }
            Err(_) => {
                self.counts.requested(hop, None);
                let detail = format!("{host} did not answer within {} s", sent.elapsed().as_secs());
                Err(UpstreamError::new(hop, FaultKind::TimedOut, detail))
            }
        }
    }

    /// The pooled client, after recording that this host is requested.
    fn client_for(&self, host: &str) -> PooledClient {
        let mut pool = self.pool.lock();
        pool.requested_hosts.insert(host);
        pool.client.clone()
    }

    /// The root URL of the last CDN, without the signed path and query.
    pub(crate) fn last_cdn(&self) -> Option<Url> {
        self.last_cdn.lock().clone()
    }
}

impl Pool {
    fn new(tls: rustls::ClientConfig, connector: Connector) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST_MAX)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER_BYTES_MAX)
            .build(https);
        Self { client, requested_hosts: RequestedHosts::default() }
    }
}

fn refused(hop: Hop, detail: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::new(hop, FaultKind::RedirectRefused, detail)
}

/// A header value that `Debug` does not print.
pub(crate) fn sensitive_header(value: &Secret) -> Result<HeaderValue, UpstreamError> {
    let mut header = HeaderValue::from_str(value.expose()).map_err(|_| {
        UpstreamError::new(
            Hop::Engine,
            FaultKind::RequestInvalid,
            "the credential is not a valid header value",
        )
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// A URL's host in a text for clients: an address of the operator's network must not appear in it.
fn shown_host(host: &url::Host<&str>) -> String {
    match host {
        url::Host::Domain(name) => (*name).to_owned(),
        url::Host::Ipv4(_) | url::Host::Ipv6(_) => "an address".to_owned(),
    }
}
