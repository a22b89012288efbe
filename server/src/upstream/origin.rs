//! One HTTP request to one host, with the guard, the trust and the time-outs that all share.
//!
//! A fault made here may be shown to users: it names the host and never the query, which on a CDN
//! is a signature.

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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use url::Url;

/// How long an unused connection is kept for the next request. Docker Hub closes after 60 s or
/// more; closing first avoids the race in which a request meets a connection about to end.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Unused connections kept for each host. A redirected blob leaves one to the registry behind, and
/// with a transfer on each of [`docxy_protocol::limits::UPSTREAM_REQUESTS`] all of them would be
/// kept, each a descriptor.
const POOL_SIZE: usize = 32;

/// TLS sessions kept for the next connections, by host: few hosts belong to a registry, but its answers
/// may name any number, and a session's tickets hold up to half a megabyte.
const TLS_SESSIONS: usize = 32;

/// Bytes of a body at most that wait on its connection to be read. hyper's default of 408 KiB would
/// add up: a transfer that nobody reads keeps that much.
const READ_BUFFER: usize = 128 * 1024;

/// A pool of connections that trust one set of roots.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The host that sent a body last which the registry hasn't itself.
    last_cdn: Arc<Mutex<Option<Url>>>,
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
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
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(Connector::new(guard));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER)
            .build(https);
        Ok(Self { client, last_cdn: Arc::default() })
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
        match tokio::time::timeout(within, self.client.request(request)).await {
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

    /// The root of the CDN that was asked last; nothing of a signed URL.
    pub(super) fn last_cdn(&self) -> Option<Url> {
        self.lock_last_cdn().clone()
    }

    fn lock_last_cdn(&self) -> MutexGuard<'_, Option<Url>> {
        self.last_cdn.lock().unwrap_or_else(PoisonError::into_inner)
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
