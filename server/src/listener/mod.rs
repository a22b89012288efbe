//! The QUIC endpoints: who may come in, and how the server ends.
//!
//! One connection's failure never ends the accepting.

mod accept_policy;
mod congestion;
mod connection;
mod load;
mod paths;
mod roster;
mod socket;
mod unauthenticated;

pub use socket::SocketError;

use crate::live::Live;
use crate::places::Places;
use crate::reload::Reload;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::state::{ClientWatch, State, StateError, Usage};
use crate::store::Store;
use crate::upstream::UpstreamError;
use accept_policy::Verdict;
use connection::Shared;
use docxy_host::log_rate_limit::LogLimits;
use docxy_host::logging::LogHandle;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{DRAIN_TIMEOUT, UPSTREAM_REQUESTS_MAX};
use docxy_protocol::tls::{self, TlsError};
use load::Load;
use paths::{Network, Paths};
use quinn::{Endpoint, EndpointConfig, ServerConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use roster::Roster;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio_util::task::TaskTracker;
use unauthenticated::Unauthenticated;

/// How long the last words of a server may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why the server ended, or never began, to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The way to the registries cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The runtime failed.
    #[error("QUIC endpoint: {0}")]
    Endpoint(#[source] std::io::Error),
}

/// Where the server listens.
#[derive(Debug)]
pub struct Ready {
    /// The addresses, with real ports where 0 was asked for.
    pub addresses: Vec<SocketAddr>,
}

/// What the operator does to a server while it runs.
#[derive(Debug)]
pub struct Controls {
    /// Ends it.
    pub shutdown: Shutdown,
    /// Reads the settings again.
    pub reload: Reload,
    /// `SIGUSR1`: asks what is under way.
    pub report: Signal,
    /// Tells how many lines the log has lost.
    pub log: LogHandle,
}

/// Serves until told to end.
///
/// # Errors
/// Where the server cannot begin. What happens to single connections is logged.
pub async fn serve(
    settings: Settings,
    state: State,
    controls: Controls,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let Controls { shutdown, reload, report, log } = controls;
    let config = server_config(&state)?;
    let usage = Usage::open(&state)?;
    let (places, connections, streams) =
        (Places::new(UPSTREAM_REQUESTS_MAX), TaskTracker::new(), TaskTracker::new());
    let live = Live::start(&settings, Store::open(state.path("manifests")))?;
    let clients = ClientWatch::start(&state)?;
    let shared = Arc::new(Shared {
        clients: clients.clone(),
        usage: usage.clone(),
        roster: Roster::new(Arc::clone(&places)),
        unauthenticated: Unauthenticated::new(),
        streams: streams.clone(),
        live: Arc::clone(&live),
        paths: Arc::new(Paths::default()),
        stranger_lines: LogLimits::default(),
        quic: config.clone(),
        drain: shutdown.drain.clone(),
    });
    let mut endpoints = Vec::new();
    for address in &settings.listen {
        endpoints.push(endpoint(*address, &state, config.clone())?);
    }
    let addresses = endpoints.iter().map(Endpoint::local_addr).collect::<Result<_, _>>();
    let unauthenticated = Arc::clone(&shared.unauthenticated);
    Load { connections: connections.clone(), unauthenticated, streams, places, log }.tell_on_signal(report);
    tokio::spawn(reload.run(settings, live, clients));
    ready(Ready { addresses: addresses.map_err(ServeError::Endpoint)? });

    for endpoint in &endpoints {
        let (endpoint, shared, connections) = (endpoint.clone(), Arc::clone(&shared), connections.clone());
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (unauthenticated, draining) = (shared.unauthenticated.len(), shared.drain.is_cancelled());
                match accept_policy::decide(&incoming, unauthenticated, draining) {
                    Verdict::Accept => {
                        // Counted here, so that a burst of first packets is counted as it comes.
                        let network = Network::of(incoming.remote_address().ip());
                        let place = shared.unauthenticated.enter(network);
                        connections.spawn(connection::run(incoming, place, Arc::clone(&shared)));
                    }
                    Verdict::Retry => {
                        // An error means that it has proved its address already.
                        let _ = incoming.retry();
                    }
                    Verdict::Refuse => incoming.refuse(),
                }
            }
        });
    }

    shutdown.drain.cancelled().await;
    tracing::info!(connections = connections.len(), "draining: running transfers may finish");
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::warn!("some transfers did not finish in time"),
        () = shutdown.abort.cancelled() => tracing::warn!("told twice to end: transfers are cut off"),
    }
    for endpoint in &endpoints {
        let code = CloseCode::Draining;
        endpoint.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
        // Time for the goodbye to leave; a client that misses it finds out by its pings.
        let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    }
    // Their accounts are complete when they have ended.
    let _ = tokio::time::timeout(GOODBYE, connections.wait()).await;
    if let Err(error) = usage.flush() {
        // A full disk, most likely. The server has done all else that it was told to.
        tracing::error!(%error, "what clients used since the last write is lost");
    }
    Ok(())
}

/// What all connections have in common. Each gets transport settings of its own when it is accepted.
fn server_config(state: &State) -> Result<ServerConfig, ServeError> {
    let identity = state.identity()?;
    let crypto = tls::server_config(identity.certificate, identity.key)?;
    Ok(ServerConfig::new(Arc::new(crypto), state.quic_keys()?.token_key()))
}

fn endpoint(address: SocketAddr, state: &State, config: ServerConfig) -> Result<Endpoint, ServeError> {
    let keys = state.quic_keys()?;
    let mut endpoint = EndpointConfig::new(keys.reset_key());
    let connection_ids = keys.connection_id_key();
    // With the keys of the last run, packets of its connections are answered with a reset that
    // their clients believe, so that they redial at once instead of waiting for a time-out.
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
    // quinn's default of 20 ms between resets would keep 500 clients of a restarted server waiting for
    // 10 s; and as it gives all packets that it reads at once the same time, any interval at all would
    // let one in a batch be answered, and have the others wait for their next probe. A reset is shorter
    // than what provokes it, and only for a connection id made with our key: there is nothing to gain.
    endpoint.min_reset_interval(Duration::ZERO);
    let socket = socket::bind(address)?;
    Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime)).map_err(ServeError::Endpoint)
}
