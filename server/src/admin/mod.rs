//! The operator's end of the server: metrics for Prometheus, and a page. Off by default.
//!
//! ```text
//!  browser, Prometheus ─HTTP/1.1─▶ handler   Host and Origin, route
//!                                  ├─▶ metrics    /metrics
//!                                  ├─▶ overview   /api/status: counts; names for who is logged in
//!                                  ├─▶ login      /api/login: five tries a minute
//!                                  └─▶ access     /api/invite, /api/revoke
//! ```
//!
//! Must never show a name or an address to who is not logged in, nor serve a network without TLS.

mod handler;
mod login;
mod metrics;
mod overview;
mod password;

pub(crate) use password::{PasswordError, PasswordHash};

use crate::address::PublicAddress;
use crate::lifecycle::active_settings::ActiveSettings;
use crate::listener::{ClientConnections, StatusReport};
use crate::state::{ClientWatch, State, Usage};
use docxy_host::metrics::ProcessStart;
use docxy_protocol::tls::provider;
use docxy_transport::tcp::Certificates;
use handler::Handler;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections at a time: a few browsers, and Prometheus.
const CONNECTIONS_MAX: usize = 64;

/// How long a peer may take for a handshake or a request head, or be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long the server waits after it could not accept a connection, probably for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What the operator sees and changes.
#[derive(Debug)]
pub(crate) struct Operated {
    pub(crate) report: Arc<StatusReport>,
    pub(crate) clients: ClientWatch,
    pub(crate) connections: Arc<ClientConnections>,
    pub(crate) usage: Usage,
    pub(crate) settings: Arc<ActiveSettings>,
    pub(crate) state: State,
    /// For links of clients that are invited here.
    pub(crate) public: Option<PublicAddress>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) started: ProcessStart,
}

/// Why the operator cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on admin address {address}: {source}; free it, or pass another one with --admin")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("admin page: TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Serves these addresses until the runtime ends. Beyond loopback, with TLS and these certificates.
///
/// # Errors
/// If an address cannot be listened on.
pub(crate) async fn serve(
    addresses: &[SocketAddr],
    operated: Operated,
    certificates: &Certificates,
) -> Result<(), AdminError> {
    let operated = Arc::new(operated);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for address in addresses {
        let listen = |source| AdminError::Listen { address: *address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let tls = if address.ip().is_loopback() { None } else { Some(acceptor(certificates)?) };
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("metrics and the admin page are at {scheme}://{address}");
        let names = tls.is_some().then(|| certificates.clone());
        let handler = Arc::new(Handler::new(Arc::clone(&operated), names));
        tokio::spawn(accept(listener, tls, handler, Arc::clone(&slots)));
    }
    Ok(())
}

fn acceptor(certificates: &Certificates) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates.clone()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<Handler>,
    slots: Arc<Semaphore>,
) {
    loop {
        // Further connections wait in the queue of the kernel.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        let (tls, handler) = (tls.clone(), Arc::clone(&handler));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(reason) = connection(stream, tls, handler).await {
                tracing::debug!(reason = %reason, "a connection to the admin page ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handler: Arc<Handler>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(stream, handler).await?,
        Some(tls) => {
            let stream = tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await??;
            serve_http(stream, handler).await?;
        }
    }
    Ok(())
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Arc<Handler>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(request).await }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
