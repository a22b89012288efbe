//! The registry API on localhost: HTTP/1.1 in, typed requests out.
//!
//! Serves from the first moment, tunnel or not. Must stay a safe neighbour: any web page can send
//! requests to localhost, so every request is checked for whom it thinks it is talking to, and for
//! whether a page of somebody else is behind it.

mod browser;
mod connections;
#[cfg(fuzzing)]
pub mod fuzz;
mod handler;
mod health;
mod host;
mod hosts;
mod line_limit;
mod patience;
mod render;
mod rewrite;
mod served;

use crate::gateway::Gateway;
use crate::tunnel::Tunnel;
use connections::{Connections, Place};
use docxy_host::log_rate_limit::LogLimits;
use docxy_host::logging::LogHandle;
use docxy_protocol::limits::{ENGINE_CONNECTIONS_MAX, ENGINE_HEADER_TIMEOUT, FIELD_LINES_MAX, FRAME_MAX};
use handler::Handler;
pub use hosts::Hosts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use served::Served;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// What the frontend needs to know.
#[derive(Debug, Clone)]
pub struct FrontendSettings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Names, beside those of this machine's loopback, under which engines reach us.
    pub hosts: Hosts,
    /// Tells how many lines the log has lost.
    pub log: LogHandle,
}

/// Where the frontend listens.
#[derive(Debug)]
pub struct Ready {
    /// The addresses, with real ports where 0 was asked for.
    pub addresses: Vec<SocketAddr>,
}

/// Why the frontend could not begin.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; pass another with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How long responses that are under way may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// Serves until `shutdown`; running responses are finished.
///
/// # Errors
/// Where an address cannot be listened on.
pub async fn serve(
    settings: FrontendSettings,
    gateway: Gateway,
    tunnel: Tunnel,
    shutdown: CancellationToken,
    ready: impl FnOnce(Ready),
) -> Result<(), FrontendError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for address in settings.listen {
        let failed = |source| FrontendError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        addresses.push(listener.local_addr().map_err(failed)?);
        listeners.push(listener);
    }
    let handler = Arc::new(Handler::new(gateway, tunnel, settings.hosts, settings.log));
    ready(Ready { addresses });

    let graceful = Arc::new(GracefulShutdown::new());
    let connections = Connections::new(ENGINE_CONNECTIONS_MAX);
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let (handler, graceful) = (Arc::clone(&handler), Arc::clone(&graceful));
        let connections = Arc::clone(&connections);
        let shutdown = shutdown.clone();
        accepting.spawn(async move {
            tokio::select! {
                () = accept(&listener, &handler, &graceful, &connections) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    while accepting.join_next().await.is_some() {}
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err()
    {
        tracing::warn!("some responses did not finish in time and are cut off");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    handler: &Arc<Handler>,
    graceful: &GracefulShutdown,
    connections: &Arc<Connections>,
) {
    let failures = LogLimits::default();
    loop {
        match listener.accept().await {
            Ok((stream, engine)) => {
                // Those behind it wait in the kernel's queue.
                let place = connections.place().await;
                let connection = graceful.watch(connection(stream, Arc::clone(handler), Arc::clone(&place)));
                let span = tracing::info_span!("engine", %engine);
                let work = async move {
                    tokio::select! {
                        ended = connection => if let Err(error) = ended {
                            tracing::debug!(%error, "an engine's connection ended");
                        },
                        () = place.must_go() => {
                            tracing::debug!("an engine's connection made room for another");
                        }
                    }
                };
                tokio::spawn(work.instrument(span));
            }
            Err(error) => {
                // Out of descriptors, most likely: others will be given back.
                if let Some(suppressed) = failures.admit(error.raw_os_error()) {
                    tracing::warn!(%error, suppressed, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connection(
    stream: TcpStream,
    handler: Arc<Handler>,
    place: Arc<Place>,
) -> impl GracefulConnection<Error = hyper::Error> {
    // Heads are small and whole; waiting to fill packets would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (handler, serving) = (Arc::clone(&handler), place.serve());
        async move {
            let response = handler.handle(request, &serving).await?;
            Ok::<_, Infallible>(response.map(|body| Served::new(body, serving)))
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ENGINE_HEADER_TIMEOUT)
        .max_buf_size(FRAME_MAX)
        .max_headers(FIELD_LINES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}
