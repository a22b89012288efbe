//! Keeps the tunnel up: dials, watches the control stream, and dials again.
//!
//! The only writer of the tunnel's status. A successful handshake is not yet a working tunnel: the server may
//! refuse the Hello one round trip later. If a working connection becomes silent, another one is dialed
//! beside it, and the one that responds first is used.

use super::backoff::{DIAL_SCHEDULE, REFUSED_SCHEDULE};
use super::config::TunnelConfig;
use super::dial::{DialError, Dialed, dial};
use super::liveness::{LivenessMonitor, POLL_INTERVAL, Suspicion, TrafficCounts};
use super::segment_budget::SharedUsage;
use super::server_selector::{DialTarget, ServerSelector};
use super::session::Session;
use super::status::TunnelStatus;
use crate::counters::TunnelCounters;
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::control::{CloseCode, ControlMessage};
use docxy_protocol::frame;
use docxy_protocol::text::{CleanText, clean};
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a server may take to respond to the Hello. On a path with a filter, the handshake may succeed and
/// nothing follows. A connection from another port may get through.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// The fault of requests between the close of a connection with the old configuration and the first one with
/// the new.
const CONFIG_CHANGED: &str = "the links or the congestion control were changed";

/// Runs until `stop`. Starts again at each change of the configuration.
pub(super) async fn supervise(
    mut config: watch::Receiver<TunnelConfig>,
    status: watch::Sender<TunnelStatus>,
    counters: TunnelCounters,
    stop: CancellationToken,
) {
    let usage = Arc::default();
    let mut lost_since = None;
    loop {
        let current = config.borrow_and_update().clone();
        let server_selector = ServerSelector::new(current.links.len());
        let usage = Arc::clone(&usage);
        let mut supervisor = Supervisor {
            config: current,
            server_selector,
            usage,
            lost_since,
            status: &status,
            counters: &counters,
        };
        tokio::select! {
            () = supervisor.reconnect_loop() => {}
            () = wait_for_change(&mut config) => {
                tracing::info!(reason = CONFIG_CHANGED, "dialing again");
                lost_since = supervisor.lost_since;
                let session = current_session(&status);
                if session.is_some() {
                    lost_since = Some(SystemTime::now());
                    counters.disconnected(CONFIG_CHANGED);
                }
                status.send_replace(match lost_since {
                    Some(since) => TunnelStatus::Down { since, reason: CONFIG_CHANGED.into() },
                    None => TunnelStatus::Connecting { reason: None },
                });
                if let Some(session) = session {
                    close(session.connection(), CloseCode::Done);
                }
            }
            () = stop.cancelled() => {
                if let Some(session) = current_session(&status) {
                    session.close().await;
                }
                return;
            }
        }
    }
}

/// Resolves when the configuration changes.
async fn wait_for_change(config: &mut watch::Receiver<TunnelConfig>) {
    if config.changed().await.is_err() {
        // The sender is gone, so no change can follow.
        std::future::pending().await
    }
}

/// The connection in use.
fn current_session(status: &watch::Sender<TunnelStatus>) -> Option<Session> {
    match &*status.borrow() {
        TunnelStatus::Up { session, .. } => Some(session.clone()),
        _ => None,
    }
}

struct Supervisor<'a> {
    config: TunnelConfig,
    server_selector: ServerSelector,
    usage: Arc<SharedUsage>,
    /// When the last connection was lost; `None` before the first.
    lost_since: Option<SystemTime>,
    status: &'a watch::Sender<TunnelStatus>,
    counters: &'a TunnelCounters,
}

impl Supervisor<'_> {
    async fn reconnect_loop(&mut self) {
        let mut down_since = Instant::now();
        let mut backoff = Backoff::new(DIAL_SCHEDULE);
        loop {
            let begun = Instant::now();
            let target = match self.server_selector.next(begun) {
                Ok(target) => target,
                Err(until) => {
                    tokio::time::sleep_until(until.into()).await;
                    continue;
                }
            };
            let (target, ended) = match self.dial(target).await {
                Ok(dialed) => self.hold(target, dialed).await,
                Err(error) => (target, SessionEnd::Failed(clean(error))),
            };
            let reason = match ended {
                SessionEnd::Lost(reason) => {
                    tracing::warn!(reason = %reason, "tunnel lost; reconnecting");
                    self.counters.disconnected(&reason);
                    self.lost_since = Some(SystemTime::now());
                    down_since = Instant::now();
                    backoff.reset();
                    self.server_selector.worked(target);
                    reason
                }
                SessionEnd::Drained => {
                    let reason = clean(CloseCode::Draining.reason());
                    tracing::warn!(reason = %reason, "tunnel lost; reconnecting");
                    self.counters.disconnected(&reason);
                    self.lost_since = Some(SystemTime::now());
                    down_since = Instant::now();
                    backoff.reset();
                    // Prefer another server, if there is one: it runs already.
                    self.server_selector.failed(target);
                    reason
                }
                SessionEnd::Failed(reason) => {
                    tracing::warn!(reason = %reason, "no tunnel yet; trying again");
                    self.server_selector.failed(target);
                    reason
                }
                SessionEnd::Refused(code) => {
                    tracing::error!(reason = code.reason(), "the server refuses this client");
                    let delay = Backoff::new(REFUSED_SCHEDULE).next_delay(Duration::ZERO, random_fraction());
                    self.server_selector.refused(target, Instant::now() + delay);
                    if self.server_selector.next(Instant::now()).is_err() {
                        self.status.send_replace(TunnelStatus::Refused { reason: code.reason() });
                        continue;
                    }
                    clean(code.reason())
                }
            };
            self.status.send_replace(match self.lost_since {
                Some(since) => TunnelStatus::Down { since, reason },
                None => TunnelStatus::Connecting { reason: Some(reason) },
            });
            let delay = backoff.next_delay(down_since.elapsed(), random_fraction());
            // The delay counts from the start of the attempt. So after the loss of an old connection there is
            // none: a request may be waiting, and most losses are short.
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn dial(&self, target: DialTarget) -> Result<Dialed, DialError> {
        let TunnelConfig { links, congestion } = &self.config;
        dial(&links[target.server], *congestion, target.attempt, &self.usage).await
    }

    /// Publishes the session until it is lost or the server drains. Replaces it if it becomes silent.
    async fn hold(&mut self, mut target: DialTarget, mut dialed: Dialed) -> (DialTarget, SessionEnd) {
        let mut silent: Option<Connection> = None;
        loop {
            let Dialed { session, control, address } = dialed;
            let connection = session.connection().clone();
            self.status.send_replace(TunnelStatus::Up { session, since: SystemTime::now() });
            // The transfers of the old connection continue on the new one.
            if let Some(silent) = silent.take() {
                close(&silent, CloseCode::Done);
            }
            tokio::select! {
                ended = watch_control_stream(control, &connection, address, self.counters) => return (target, ended),
                (next, instead) = self.wait_for_replacement(&connection) => (target, dialed) = (next, instead),
            }
            self.lost_since = Some(SystemTime::now());
            silent = Some(connection);
        }
    }

    /// Another connection, dialed while this one is silent.
    async fn wait_for_replacement(&mut self, connection: &Connection) -> (DialTarget, Dialed) {
        loop {
            let suspicion = suspicion(connection).await;
            self.counters.stalls.increment();
            tracing::info!(?suspicion, "connection silent; dialing another one");
            tokio::select! {
                replacement = self.dial_replacement() => return replacement,
                () = wait_for_traffic(connection) => tracing::info!("the connection is back"),
            }
        }
    }

    /// Dials until an attempt succeeds, each from a fresh port.
    async fn dial_replacement(&mut self) -> (DialTarget, Dialed) {
        let (silent_since, mut backoff) = (Instant::now(), Backoff::new(DIAL_SCHEDULE));
        loop {
            let begun = Instant::now();
            match self.server_selector.next(begun) {
                Ok(target) => match self.dial(target).await {
                    Ok(dialed) => return (target, dialed),
                    Err(error) => {
                        tracing::info!(reason = %clean(error), "no other connection yet");
                        self.server_selector.failed(target);
                    }
                },
                Err(until) => tokio::time::sleep_until(until.into()).await,
            }
            let delay = backoff.next_delay(silent_since.elapsed(), random_fraction());
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }
}

/// How an attempt or a session ended.
enum SessionEnd {
    /// The session was up and is lost.
    Lost(CleanText),
    /// The server drains: running responses continue.
    Drained,
    /// The session never came up.
    Failed(CleanText),
    /// The server refuses this client.
    Refused(CloseCode),
}

/// Reads the control stream until the session is lost or the server drains.
async fn watch_control_stream(
    mut control: RecvStream,
    connection: &Connection,
    address: SocketAddr,
    counters: &TunnelCounters,
) -> SessionEnd {
    match tokio::time::timeout(WELCOME_TIMEOUT, frame::read(&mut control)).await {
        Ok(Ok(ControlMessage::Welcome { version })) => {
            counters.connects.increment();
            counters.server_version.set(&version);
            tracing::info!(%address, %version, "tunnel up");
        }
        Ok(Ok(ControlMessage::Draining)) => return SessionEnd::Failed(CloseCode::Draining.reason().into()),
        Ok(Err(_)) => return session_end(connection, SessionEnd::Failed).await,
        Err(_) => {
            close(connection, CloseCode::Done);
            let reason = format_args!("{address}: handshake succeeded but no reply; UDP may be filtered");
            return SessionEnd::Failed(clean(reason));
        }
    }
    match frame::read(&mut control).await {
        // Running responses keep this connection. New requests use the next one.
        Ok(ControlMessage::Draining) => SessionEnd::Drained,
        Ok(ControlMessage::Welcome { .. }) | Err(_) => session_end(connection, SessionEnd::Lost).await,
    }
}

/// Resolves when a connection seems dead.
async fn suspicion(connection: &Connection) -> Suspicion {
    let mut liveness = LivenessMonitor::new(traffic_counts(connection), Instant::now(), SystemTime::now());
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let now = (Instant::now(), SystemTime::now());
        if let Some(suspicion) = liveness.poll(traffic_counts(connection), connection.rtt(), now.0, now.1) {
            return suspicion;
        }
    }
}

/// Resolves when a datagram arrives on a connection.
async fn wait_for_traffic(connection: &Connection) {
    let before = traffic_counts(connection).datagrams_received;
    while traffic_counts(connection).datagrams_received == before {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn traffic_counts(connection: &Connection) -> TrafficCounts {
    let stats = connection.stats();
    let sent = stats.frame_tx;
    // All frames that a client sends, without acknowledgements, which are not acknowledged (RFC 9000, section
    // 13.2).
    let ack_eliciting = [
        sent.crypto,
        sent.ping,
        sent.stream,
        sent.stop_sending,
        sent.reset_stream,
        sent.max_data,
        sent.max_stream_data,
        sent.path_challenge,
        sent.path_response,
        sent.retire_connection_id,
        sent.immediate_ack,
    ];
    TrafficCounts {
        datagrams_received: stats.udp_rx.datagrams,
        ack_eliciting_sent: ack_eliciting.iter().sum(),
    }
}

/// The control stream ends only with the connection, and the reason of that counts.
async fn session_end(connection: &Connection, unless_refused: fn(CleanText) -> SessionEnd) -> SessionEnd {
    if connection.close_reason().is_none() {
        close(connection, CloseCode::ProtocolViolation);
    }
    let reason = connection.closed().await;
    let code = match &reason {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        _ => None,
    };
    match code {
        Some(code) if code.is_refusal() => SessionEnd::Refused(code),
        Some(code) => unless_refused(clean(code.reason())),
        // The reason text of the server is part of this.
        None => unless_refused(clean(reason)),
    }
}

fn close(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
}
