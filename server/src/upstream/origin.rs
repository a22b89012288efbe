//! One HTTP request to one host, with the guard, the trust and the time-outs that all share.
//!
//! A fault made here may be shown to users: it names the host and never the query, which on a CDN
//! is a signature.

use super::asked_hosts::AskedHosts;
use super::connector::Connector;
use super::failure;
use super::guard::Guard;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use url::Url;

/// How long an unused connection is kept for the next request. Docker Hub closes after 60 s or
/// more; closing first avoids the race in which a request meets a connection about to end.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Unused connections kept for each host. A redirected blob leaves one to the registry behind, and
/// with a transfer on each of [`docxy_protocol::limits::UPSTREAM_REQUESTS_MAX`] all of them would be
/// kept, each a descriptor.
const POOL_SIZE: usize = 32;

/// TLS sessions kept for the next connections, by host: few hosts belong to a registry, but its answers
/// may name any number, and a session's tickets hold up to half a megabyte.
const TLS_SESSIONS: usize = 32;

/// Bytes of a body at most that wait on its connection to be read. hyper's default of 408 KiB would
/// add up: a transfer that nobody reads keeps that much.
const READ_BUFFER: usize = 128 * 1024;

/// A pool of connections that trust one set of roots.
#[derive(Debug)]
pub(super) struct Origin {
    /// The host that sent a body last which the registry hasn't itself.
    last_cdn: Mutex<Option<Url>>,
    tls: rustls::ClientConfig,
    connector: Connector,
    pool: Mutex<Pool>,
}

type HttpsClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The connections, and the hosts that they may lead to.
#[derive(Debug)]
struct Pool {
    client: HttpsClient,
    asked: AskedHosts,
}

impl Origin {
    /// # Errors
    /// Where the crypto provider cannot do TLS 1.2 and 1.3, which would be a bug.
    pub(super) fn new(guard: Guard, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let mut tls = rustls::ClientConfig::builder_with_provider(docxy_protocol::tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS);
        let connector = Connector::new(guard);
        let pool = Mutex::new(Pool::new(tls.clone(), connector.clone()));
        Ok(Self { last_cdn: Mutex::default(), tls, connector, pool })
    }

    /// Dials by another guard from now on. Connections are kept, except where one of them may lead to
    /// a host that is somewhere else now, or must not be reached any more: then all of them end, those
    /// in use after their transfer.
    pub(super) fn set_guard(&self, guard: Guard) {
        let changed = self.connector.guard().changed_hosts(&guard);
        if changed.is_empty() {
            return;
        }
        // First, so that nothing is dialled by the old one once the connections have been looked at.
        self.connector.set_guard(guard);
        let mut pool = self.lock_pool();
        if changed.iter().any(|host| pool.asked.contains(host)) {
            *pool = Pool::new(self.tls.clone(), self.connector.clone());
        }
    }

    /// Sends a request and waits for the answer's head, `within` at most.
    ///
    /// # Errors
    /// Where the URL must not be dialled, the host cannot be reached, or it takes too long.
    pub(super) async fn send(
        &self,
        hop: Hop,
        url: &Url,
        mut request: http::Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<http::Response<Incoming>, Fault> {
        let host = url.host().ok_or_else(|| refused(hop, "a URL without a host"))?;
        let plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        if !plain {
            return Err(refused(hop, format!("{host} must not be asked (HTTPS to public addresses only)")));
        }
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| refused(hop, format!("a URL of {host} that cannot be used")))?;
        match tokio::time::timeout(within, self.client(&host.to_string()).request(request)).await {
            Ok(Ok(response)) => {
                if hop == Hop::Cdn {
                    *self.lock_last_cdn() = url.join("/").ok();
                }
                Ok(response)
            }
            Ok(Err(error)) => Err(failure::of(hop, &host, &error)),
            Err(_) => Err(Fault::new(
                hop,
                FaultKind::TimedOut,
                format!("{host} did not answer within {} s", within.as_secs()),
            )),
        }
    }

    /// The connections, for a request to this host.
    fn client(&self, host: &str) -> HttpsClient {
        let mut pool = self.lock_pool();
        pool.asked.insert(host);
        pool.client.clone()
    }

    fn lock_pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root of the CDN that was asked last; nothing of a signed URL.
    pub(super) fn last_cdn(&self) -> Option<Url> {
        self.lock_last_cdn().clone()
    }

    fn lock_last_cdn(&self) -> MutexGuard<'_, Option<Url>> {
        self.last_cdn.lock().unwrap_or_else(PoisonError::into_inner)
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
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER)
            .build(https);
        Self { client, asked: AskedHosts::default() }
    }
}

/// The innermost cause, which is what a person can act on ("connection refused"), with what it
/// was an attempt at.
pub(super) fn reason(error: &dyn Error) -> String {
    let outer = error.to_string();
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let inner = innermost.to_string();
    if inner == outer { outer } else { format!("{outer}: {inner}") }
}

fn refused(hop: Hop, detail: impl std::fmt::Display) -> Fault {
    Fault::new(hop, FaultKind::RedirectRefused, detail)
}
