//! The listeners: accepts connections, and drains them when the server ends, or hands them back.
//!
//! Must never stop accepting because one connection fails.

mod accept_policy;
mod client_connections;
mod congestion;
mod connection;
mod network;
mod path_cache;
mod status_report;
mod unauthenticated;

use crate::access::live_clients::{self, LiveClients};
use crate::admin::{self, AdminError, Operated};
use crate::admission::Admission;
use crate::admission::memory_limits::MemoryLimits;
use crate::exchange::ExchangeLog;
use crate::exchange::streams::OpenStreams;
use crate::lifecycle::active_settings::ActiveSettings;
use crate::lifecycle::reload::Reload;
use crate::settings::{Settings, TlsSettings};
use crate::state::{ClientWatch, State, StateError, Usage};
use crate::upstream::SetupError;
use crate::upstream::store;
use accept_policy::Decision;
pub(crate) use client_connections::{ClientConnections, SessionReport};
use connection::ListenerContext;
use docxy_host::logging::LogHandle;
use docxy_host::logging::rate_limit::LogLimits;
use docxy_host::metrics::ProcessStart;
use docxy_host::net::listen_address::advice_on;
use docxy_host::platform::memory;
use docxy_host::platform::port_holder::{Protocol, port_holder};
use docxy_host::process::signals::shutdown::Shutdown;
use docxy_protocol::limits::{CLOSE_CONFIRMATION_TIMEOUT, DRAIN_TIMEOUT};
use docxy_transport::tcp::Certificates;
use docxy_transport::{Leg, ListenError, Listener};
use network::Network;
use path_cache::PathCache;
pub(crate) use status_report::{Load, StatusReport};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use unauthenticated::Unauthenticated;

/// How long the server waits for its connections at its end. Each has [`CLOSE_CONFIRMATION_TIMEOUT`], and needs a
/// moment more on a busy machine.
const CLOSE_TIMEOUT: Duration = CLOSE_CONFIRMATION_TIMEOUT.saturating_mul(2);

/// The drain ends when no client has used the server for so long. A pull has gaps between its requests.
const DRAIN_LINGER: Duration = Duration::from_secs(1);

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Another process has the port.
    #[error("{source}; {holder}; end that, or pass another address with --listen")]
    PortTaken {
        /// What the system says.
        source: ListenError,
        /// Who has it, for people.
        holder: String,
    },
    /// The system refuses the address.
    #[error(
        "{source}; {advice}. A port alone, as in --listen 61443, is all addresses; --public names the one that clients dial"
    )]
    Refused {
        /// What the system says.
        source: ListenError,
        /// Why, for people.
        advice: &'static str,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The operator cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The connections to the registries cannot be set up.
    #[error(transparent)]
    Upstream(#[from] SetupError),
}

impl ServeError {
    fn of_listen(source: ListenError) -> Self {
        let Some((port, leg)) = source.taken_port() else {
            let causes =
                std::iter::successors(Some(&source as &dyn std::error::Error), |error| error.source());
            let mut refusals = causes.filter_map(|error| error.downcast_ref::<std::io::Error>());
            return match refusals.find_map(|error| advice_on(error.kind())) {
                Some(advice) => Self::Refused { source, advice },
                None => Self::Listen(source),
            };
        };
        let protocol = match leg {
            Leg::Quic => Protocol::Udp,
            Leg::Tcp => Protocol::Tcp,
        };
        Self::PortTaken {
            source,
            holder: port_holder(port, protocol, "another docxy-server, or a container"),
        }
    }
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
    let usage = Usage::open(&state)?;
    let limits = MemoryLimits::of(memory::limit().unwrap_or(u64::MAX));
    tracing::debug!(?limits, "limits by the memory");
    let (admission, connections, streams) =
        (Admission::new(limits.upstream_requests), TaskTracker::new(), OpenStreams::default());
    let store = store::open(state.path("manifests"), limits.manifest_bytes);
    let active_settings = ActiveSettings::start(&settings, store)?;
    let clients = ClientWatch::start(&state, usage.clone())?;
    // With a handover, running transfers are handed back at the first signal.
    let hand_back = if settings.handover { shutdown.drain.clone() } else { CancellationToken::new() };
    let shared = Arc::new(ListenerContext {
        clients: clients.clone(),
        usage: usage.clone(),
        connections: ClientConnections::new(Arc::clone(&admission), limits.send_segments),
        unauthenticated: Unauthenticated::new(limits.unauthenticated, limits.unauthenticated_per_network),
        streams: streams.clone(),
        settings: Arc::clone(&active_settings),
        counters: Arc::default(),
        log: ExchangeLog::new(settings.log_images),
        path_cache: Arc::new(PathCache::default()),
        unauthenticated_log_limits: LogLimits::default(),
        drain: shutdown.drain.clone(),
        hand_back: hand_back.clone(),
    });
    let (identity, keys) = (state.identity()?, state.quic_keys()?);
    let (certificate, key) = (&identity.certificate, &identity.key);
    let certificates = Certificates::new(certificate.clone(), key.clone_key()).map_err(ListenError::Tls)?;
    certificates.set_operators(settings.tls.as_ref().map(TlsSettings::in_use));
    let listen = |address: &SocketAddr| Listener::bind(*address, certificate, key, &keys, &certificates);
    let listeners = settings.listen.iter().map(listen).collect::<Result<Vec<_>, _>>();
    let listeners = listeners.map_err(ServeError::of_listen)?;
    let addresses = listeners.iter().map(Listener::local_address).collect::<Result<Vec<_>, _>>()?;
    let (counted, connected) = (usage.clone(), Arc::clone(&shared.connections));
    let live = move || LiveClients { connections: connected.counts(), usage: counted.totals() };
    live_clients::serve(&state, live);
    let status_report = Arc::new(StatusReport {
        connections: connections.clone(),
        unauthenticated: Arc::clone(&shared.unauthenticated),
        streams: streams.clone(),
        admission,
        path_cache: Arc::clone(&shared.path_cache),
        counters: Arc::clone(&shared.counters),
        drain: shutdown.drain.clone(),
        log,
        status_file,
    });
    Arc::clone(&status_report).write_on_signal(report);
    let operated = Operated {
        report: status_report,
        clients: clients.clone(),
        connections: Arc::clone(&shared.connections),
        usage: usage.clone(),
        settings: Arc::clone(&active_settings),
        state,
        public: settings.public.clone(),
        listen: addresses.clone(),
        started: ProcessStart::now(),
    };
    admin::serve(&settings.admin, operated, &certificates).await?;
    tokio::spawn(reload.run(settings, active_settings, clients, certificates));
    let logged = Arc::clone(&shared);
    tokio::spawn(async move { logged.log.run(&logged.counters).await });
    ready(Ready { addresses });

    for listener in &listeners {
        let (listener, shared, connections) = (listener.clone(), Arc::clone(&shared), connections.clone());
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                // A server that only drains serves newcomers too: they may have no other server.
                let busy = shared.unauthenticated.len() >= limits.unauthenticated_before_retry;
                match accept_policy::decide(&incoming, busy, shared.hand_back.is_cancelled()) {
                    Decision::Accept => {
                        // The slot is taken here, so that the next decision counts this connection.
                        let network = Network::of(incoming.remote_address().ip());
                        let slot = shared.unauthenticated.add(network);
                        connections.spawn(connection::run(incoming, slot, Arc::clone(&shared)));
                    }
                    Decision::Retry => incoming.retry(),
                    Decision::Refuse => incoming.refuse(),
                }
            }
        });
    }

    shutdown.drain.cancelled().await;
    let handover = hand_back.is_cancelled();
    tracing::info!(connections = connections.len(), handover, "shutting down: telling the clients");
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        // A client that is connected and requests nothing does not count.
        () = streams.unused_for(DRAIN_LINGER) => {}
        () = hand_back.cancelled() => {}
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::warn!("some transfers did not finish in time"),
        () = shutdown.abort.cancelled() => tracing::warn!("second signal: handing back running transfers"),
    }
    hand_back.cancel();
    // A connection's task ends when its client knows of its end, and then its usage is complete. A client that misses
    // it notices at its next ping, which the next process answers with a reset.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connections.wait()).await;
    shared.log.tell_ended(Duration::ZERO, &shared.counters);
    if let Err(error) = usage.flush() {
        // Most likely a full disk. Nothing else is left to do.
        tracing::error!(%error, "clients' usage since the last write is lost");
    }
    Ok(())
}
