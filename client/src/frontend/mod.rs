//! The registry API on localhost: HTTP/1.1 in, typed requests out.
//!
//! Serves from the start, with or without a tunnel. Any web page can send requests to localhost, so every
//! request is checked for its host and its origin.

mod connections;
#[cfg(fuzzing)]
pub mod fuzz;
mod handler;
mod health;
mod local_calls;
mod log_limit;
mod page;
mod patience;
mod refusal;
mod responses;
mod rewrite;

use crate::gateway::Gateway;
use crate::local_api;
use crate::status::Publisher;
pub use connections::{AllowedNetworks, ListenError};
use connections::{BusyGuard, ConnectionSlot, ConnectionSlots, Peer, bind};
use docxy_host::logging::LogHandle;
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::net::private_socket::PrivateSocket;
pub use docxy_host::net::web_origin::AllowedHosts;
use docxy_host::trouble::Trouble;
use docxy_protocol::limits::{
    ENGINE_CONNECTIONS_MAX, ENGINE_HEADER_TIMEOUT, FIELD_LINES_MAX, FRAME_BYTES_MAX,
};
use handler::Handler;
use http_body::Body;
use http_body_util::{BodyExt as _, Either as EitherBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// The settings of the frontend.
#[derive(Debug)]
pub struct FrontendSettings {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Where to serve the commands of this user as well.
    pub socket: Option<PrivateSocket>,
    /// The host names that engines may use, beside those of loopback.
    pub hosts: AllowedHosts,
    /// The networks of other machines whose engines may use this client.
    pub networks: AllowedNetworks,
    /// Reports how many log lines were dropped.
    pub log: LogHandle,
}

/// How long running responses may take after a shutdown was requested.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `shutdown`, then finishes running responses. `ready` is called with the listen addresses, with the
/// real port in place of 0.
///
/// # Errors
/// If an address cannot be listened on.
pub async fn serve(
    settings: FrontendSettings,
    gateway: Gateway,
    shutdown: CancellationToken,
    ready: impl FnOnce(Vec<SocketAddr>),
) -> Result<(), ListenError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for address in settings.listen {
        for listener in bind(address).await? {
            addresses.extend(listener.local_addr());
            listeners.push(Listener::Engines(listener));
        }
    }
    listeners.extend(settings.socket.map(Listener::Commands));
    let address = addresses.first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
    let publisher = Arc::new(Publisher::new(gateway.clone(), address, shutdown.clone()));
    let running = Arc::clone(&publisher);
    let _publisher = AbortOnDropHandle::new(tokio::spawn(async move { running.run().await }));
    let handler = Arc::new(Handler::new(gateway, settings.hosts, settings.networks, settings.log, publisher));
    ready(addresses);

    let graceful = Arc::new(GracefulShutdown::new());
    let slots = ConnectionSlots::new(ENGINE_CONNECTIONS_MAX);
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let (handler, graceful) = (Arc::clone(&handler), Arc::clone(&graceful));
        let slots = Arc::clone(&slots);
        let shutdown = shutdown.clone();
        accepting.spawn(async move {
            tokio::select! {
                () = accept(&listener, &handler, &graceful, &slots, &shutdown) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    while accepting.join_next().await.is_some() {}
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err()
    {
        tracing::warn!("some responses did not finish in time and are aborted");
    }
    Ok(())
}

/// Where requests come from.
enum Listener {
    /// Engines, and all others that reach the address.
    Engines(TcpListener),
    /// Commands of this user.
    Commands(PrivateSocket),
}

/// A connection, and its other end.
type Accepted = (Either<TcpStream, UnixStream>, Option<Peer>);

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Engines(listener) => {
                let (stream, engine) = listener.accept().await?;
                // Responses start with a small head, which must not wait for a full packet.
                let _ = stream.set_nodelay(true);
                let peer = Peer { address: engine.ip(), reached: stream.local_addr()?.ip() };
                Ok((Either::Left(stream), Some(peer)))
            }
            Self::Commands(socket) => Ok((Either::Right(socket.accept().await?), None)),
        }
    }
}

async fn accept(
    listener: &Listener,
    handler: &Arc<Handler>,
    graceful: &GracefulShutdown,
    slots: &Arc<ConnectionSlots>,
    drain: &CancellationToken,
) {
    let mut trouble = Trouble::default();
    loop {
        match listener.accept().await {
            Ok((stream, engine)) => {
                if trouble.end(Instant::now()).is_some() {
                    tracing::info!("connections can be accepted again");
                }
                // Further connections wait in the queue of the kernel.
                let slot = slots.acquire().await;
                let connection =
                    connection((stream, engine), Arc::clone(handler), Arc::clone(&slot), drain.clone());
                let connection = graceful.watch(connection);
                let span = tracing::info_span!(
                    "engine",
                    engine = engine.map(|peer| tracing::field::display(peer.address))
                );
                let work = async move {
                    tokio::select! {
                        ended = connection => if let Err(error) = ended {
                            tracing::debug!(%error, "an engine's connection ended");
                        },
                        () = slot.evicted() => {
                            tracing::debug!("closed an idle engine connection for a new one");
                        }
                    }
                };
                tokio::spawn(work.instrument(span));
            }
            Err(error) => {
                // Probably out of file descriptors. Wait until some are closed.
                if trouble.begin(Instant::now()) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connection(
    (stream, engine): Accepted,
    handler: Arc<Handler>,
    slot: Arc<ConnectionSlot>,
    drain: CancellationToken,
) -> impl GracefulConnection<Error = hyper::Error> {
    let is_private = matches!(stream, Either::Right(_));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (handler, busy, drain) = (Arc::clone(&handler), slot.begin_request(), drain.clone());
        async move {
            let response = if is_private && request.uri().path() == local_api::PATH {
                local_calls::respond(handler.gateway(), request, drain).await.map(EitherBody::Right)
            } else {
                handler.handle(request, &busy, engine).await?.map(EitherBody::Left)
            };
            Ok::<_, Infallible>(response.map(|body| keep_busy(body, busy)))
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ENGINE_HEADER_TIMEOUT)
        .max_buf_size(FRAME_BYTES_MAX)
        .max_headers(FIELD_LINES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}

/// The same body, which keeps its connection open until it is sent or dropped.
fn keep_busy<B: Body>(body: B, busy: BusyGuard) -> impl Body<Data = B::Data, Error = B::Error> {
    // The body owns the closure, and the closure owns the guard.
    body.map_err(move |error| {
        let _busy = &busy;
        error
    })
}
