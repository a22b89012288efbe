//! The QUIC endpoints: accepts connections, and drains them when the server ends.
//!
//! Must never stop accepting because one connection fails.

mod accept_policy;
mod client_connections;
mod congestion;
mod connection;
mod load_report;
mod network;
mod path_cache;
mod socket;
mod unauthenticated;

pub use socket::SocketError;

use crate::admission::Admission;
use crate::lifecycle::active_settings::ActiveSettings;
use crate::lifecycle::reload::Reload;
use crate::settings::Settings;
use crate::state::{ClientWatch, State, StateError, Usage};
use crate::store;
use crate::upstream::SetupError;
use accept_policy::Decision;
use client_connections::ClientConnections;
use connection::Shared;
use docxy_host::log_rate_limit::LogLimits;
use docxy_host::logging::LogHandle;
use docxy_host::shutdown::Shutdown;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{DRAIN_TIMEOUT, UPSTREAM_REQUESTS_MAX};
use docxy_protocol::tls::{self, TlsError};
use load_report::LoadReport;
use network::Network;
use path_cache::PathCache;
use quinn::{Endpoint, EndpointConfig, ServerConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio_util::task::TaskTracker;
use unauthenticated::Unauthenticated;

/// How long the server waits for its connections to close at its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the server cannot serve.
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
    /// The connections to the registries cannot be set up.
    #[error(transparent)]
    Upstream(#[from] SetupError),
    /// The runtime failed.
    #[error("QUIC endpoint: {0}")]
    Endpoint(#[source] std::io::Error),
}

/// The addresses that the server listens on.
#[derive(Debug)]
pub struct Ready {
    /// The addresses. Port 0 of the settings is replaced by the real one.
    pub addresses: Vec<SocketAddr>,
}

/// How the operator controls a running server.
#[derive(Debug)]
pub struct Controls {
    /// Ends it.
    pub shutdown: Shutdown,
    /// Reads the settings again.
    pub reload: Reload,
    /// `SIGUSR1`: logs the load report.
    pub report: Signal,
    /// Counts the lines that the log has lost.
    pub log: LogHandle,
    /// Where `SIGUSR1` writes the load report as JSON.
    pub status_file: Option<PathBuf>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// If the server cannot start. Errors of single connections are logged.
pub async fn serve(
    settings: Settings,
    state: State,
    controls: Controls,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let Controls { shutdown, reload, report, log, status_file } = controls;
    let config = server_config(&state)?;
    let usage = Usage::open(&state)?;
    let (admission, connections, streams) =
        (Admission::new(UPSTREAM_REQUESTS_MAX), TaskTracker::new(), TaskTracker::new());
    let active_settings = ActiveSettings::start(&settings, store::open(state.path("manifests")))?;
    let clients = ClientWatch::start(&state)?;
    let shared = Arc::new(Shared {
        clients: clients.clone(),
        usage: usage.clone(),
        connections: ClientConnections::new(Arc::clone(&admission)),
        unauthenticated: Unauthenticated::new(),
        streams: streams.clone(),
        settings: Arc::clone(&active_settings),
        counters: Arc::default(),
        path_cache: Arc::new(PathCache::default()),
        unauthenticated_log_limits: LogLimits::default(),
        quic: config.clone(),
        drain: shutdown.drain.clone(),
    });
    let mut endpoints = Vec::new();
    for address in &settings.listen {
        endpoints.push(endpoint(*address, &state, config.clone())?);
    }
    let addresses = endpoints.iter().map(Endpoint::local_addr).collect::<Result<_, _>>();
    let load_report = LoadReport {
        connections: connections.clone(),
        unauthenticated: Arc::clone(&shared.unauthenticated),
        streams,
        admission,
        path_cache: Arc::clone(&shared.path_cache),
        counters: Arc::clone(&shared.counters),
        drain: shutdown.drain.clone(),
        log,
        status_file,
    };
    load_report.write_on_signal(report);
    tokio::spawn(reload.run(settings, active_settings, clients));
    ready(Ready { addresses: addresses.map_err(ServeError::Endpoint)? });

    for endpoint in &endpoints {
        let (endpoint, shared, connections) = (endpoint.clone(), Arc::clone(&shared), connections.clone());
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (unauthenticated, draining) = (shared.unauthenticated.len(), shared.drain.is_cancelled());
                match accept_policy::decide(&incoming, unauthenticated, draining) {
                    Decision::Accept => {
                        // The slot is taken here, so that the next decision counts this connection.
                        let network = Network::of(incoming.remote_address().ip());
                        let slot = shared.unauthenticated.add(network);
                        connections.spawn(connection::run(incoming, slot, Arc::clone(&shared)));
                    }
                    Decision::Retry => {
                        // An error means that the address is already validated.
                        let _ = incoming.retry();
                    }
                    Decision::Refuse => incoming.refuse(),
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
        () = shutdown.abort.cancelled() => tracing::warn!("second signal: running transfers are cancelled"),
    }
    for endpoint in &endpoints {
        let code = CloseCode::Draining;
        endpoint.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
        // So that CONNECTION_CLOSE is sent. A client that doesn't receive it notices by its idle timeout.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await;
    }
    // The usage of a connection is complete when its task has ended.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connections.wait()).await;
    if let Err(error) = usage.flush() {
        // Most likely a full disk. Nothing else is left to do.
        tracing::error!(%error, "clients' usage since the last write is lost");
    }
    Ok(())
}

/// The QUIC settings of all connections. Each gets its own transport settings when it is accepted.
fn server_config(state: &State) -> Result<ServerConfig, ServeError> {
    let identity = state.identity()?;
    let crypto = tls::server_config(identity.certificate, identity.key)?;
    Ok(ServerConfig::new(Arc::new(crypto), state.quic_keys()?.token_key()))
}

fn endpoint(address: SocketAddr, state: &State, config: ServerConfig) -> Result<Endpoint, ServeError> {
    let keys = state.quic_keys()?;
    let mut endpoint = EndpointConfig::new(keys.reset_key());
    let connection_ids = keys.connection_id_key();
    // The keys are the last run's, so that packets of its connections get a stateless reset that their
    // clients accept. They redial at once instead of waiting for the idle timeout.
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
    // With quinn's default of 20 ms between resets, 500 clients of a restarted server would wait for 10 s.
    // With any interval, quinn sends one reset for each batch of packets that it reads together, and the
    // other clients wait for their next probe. Resets cannot be abused: each is shorter than the packet
    // that causes it, and only sent for a connection ID that was made with our key.
    endpoint.min_reset_interval(Duration::ZERO);
    let socket = socket::bind(address)?;
    Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime)).map_err(ServeError::Endpoint)
}
