//! Keeps the tunnel up: dials, watches the control stream, and dials again.
//!
//! The only writer of the tunnel's status. A successful handshake is not yet a working tunnel: the server may
//! refuse the Hello one round trip later. If a working connection becomes silent, another one is dialed
//! beside it, and the one that responds first is used.

use super::backoff::{DIAL_SCHEDULE, REFUSED_SCHEDULE};
use super::config::TunnelConfig;
use super::dial::{DialError, DialedSession, dial};
use super::liveness::{LivenessMonitor, POLL_INTERVAL, Suspicion};
use super::segment_budget::SharedUsage;
use super::server_selector::{DialTarget, ServerSelector};
use super::session::Session;
use super::status::TunnelStatus;
use crate::counters::TunnelCounters;
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::control::{CloseCode, ControlMessage};
use docxy_protocol::text::{CleanText, clean};
use docxy_protocol::version::upgrade_server;
use docxy_transport::{ReceiveStream, Session as Transport, SessionError};
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
                    session.transport().close(CloseCode::Done);
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
                Ok(dialed) => self.run_session(target, dialed).await,
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
                    tracing::warn!(reason = %reason, "the server drains; connecting again");
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
                SessionEnd::Refused(reason) => {
                    tracing::error!(%reason, "the server refuses this client");
                    let delay = Backoff::new(REFUSED_SCHEDULE).next_delay(Duration::ZERO, random_fraction());
                    self.server_selector.refused(target, Instant::now() + delay);
                    if self.server_selector.next(Instant::now()).is_err() {
                        self.status.send_replace(TunnelStatus::Refused { reason });
                        continue;
                    }
                    reason
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

    async fn dial(&self, target: DialTarget) -> Result<DialedSession, DialError> {
        let TunnelConfig { links, congestion } = &self.config;
        dial(&links[target.server], *congestion, target.attempt, &self.usage).await
    }

    /// Publishes the session until it is lost or the server drains. Replaces it if it becomes silent.
    async fn run_session(
        &mut self,
        mut target: DialTarget,
        mut dialed: DialedSession,
    ) -> (DialTarget, SessionEnd) {
        let mut silent: Option<Transport> = None;
        loop {
            let DialedSession { session, control, address } = dialed;
            let transport = session.transport().clone();
            self.status.send_replace(TunnelStatus::Up { session, since: SystemTime::now() });
            // The transfers of the old connection continue on the new one.
            if let Some(silent) = silent.take() {
                silent.close(CloseCode::Done);
            }
            tokio::select! {
                ended = watch_control_stream(control, &transport, address, self.counters) => return (target, ended),
                replacement = self.wait_for_replacement(&transport) => (target, dialed) = replacement,
            }
            self.lost_since = Some(SystemTime::now());
            silent = Some(transport);
        }
    }

    /// Another connection, dialed while this one is silent.
    async fn wait_for_replacement(&mut self, transport: &Transport) -> (DialTarget, DialedSession) {
        loop {
            let suspicion = suspicion(transport).await;
            self.counters.silent_connections.increment();
            tracing::info!(?suspicion, "connection silent; dialing another one");
            tokio::select! {
                replacement = self.dial_replacement() => return replacement,
                () = wait_for_traffic(transport) => tracing::info!("the connection is back"),
            }
        }
    }

    /// Dials until an attempt succeeds, each from a fresh port.
    async fn dial_replacement(&mut self) -> (DialTarget, DialedSession) {
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
    Refused(CleanText),
}

/// Reads the control stream until the session is lost or the server drains.
async fn watch_control_stream(
    mut control: ReceiveStream,
    transport: &Transport,
    address: SocketAddr,
    counters: &TunnelCounters,
) -> SessionEnd {
    match tokio::time::timeout(WELCOME_TIMEOUT, control.read_frame()).await {
        Ok(Ok(ControlMessage::Welcome { version })) => {
            counters.connects.increment();
            counters.server_version.set(&version);
            tracing::info!(%address, %version, "tunnel up");
        }
        Ok(Ok(ControlMessage::Draining)) => return SessionEnd::Failed(CloseCode::Draining.reason().into()),
        Ok(Err(_)) => return session_end(transport, SessionEnd::Failed).await,
        Err(_) => {
            transport.close(CloseCode::Done);
            let reason = format_args!("{address}: handshake succeeded but no reply; UDP may be filtered");
            return SessionEnd::Failed(clean(reason));
        }
    }
    match control.read_frame().await {
        // Running responses keep this connection. New requests use the next one.
        Ok(ControlMessage::Draining) => SessionEnd::Drained,
        Ok(ControlMessage::Welcome { .. }) | Err(_) => session_end(transport, SessionEnd::Lost).await,
    }
}

/// Resolves when a session seems dead.
async fn suspicion(transport: &Transport) -> Suspicion {
    let mut liveness = LivenessMonitor::new(transport.path(), Instant::now(), SystemTime::now());
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        if let Some(suspicion) = liveness.poll(transport.path(), Instant::now(), SystemTime::now()) {
            return suspicion;
        }
    }
}

/// Resolves when a datagram arrives.
async fn wait_for_traffic(transport: &Transport) {
    let before = transport.path().datagrams_received;
    while transport.path().datagrams_received == before {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The control stream ends only with the session, and the reason of that counts.
async fn session_end(transport: &Transport, unless_refused: fn(CleanText) -> SessionEnd) -> SessionEnd {
    if transport.close_reason().is_none() {
        transport.close(CloseCode::ProtocolViolation);
    }
    let reason = transport.closed().await;
    match reason {
        // Only the server knows its version, and only this client its own.
        SessionError::ClosedByPeer { code: Some(CloseCode::ClientOutdated), reason } => {
            SessionEnd::Refused(reason)
        }
        SessionError::ClosedByPeer { code: Some(CloseCode::ServerOutdated), .. } => {
            SessionEnd::Refused(clean(upgrade_server(env!("CARGO_PKG_VERSION"))))
        }
        SessionError::ClosedByPeer { code: Some(code), .. } if code.is_refusal() => {
            SessionEnd::Refused(code.reason().into())
        }
        SessionError::ClosedByPeer { code: Some(code), .. } => unless_refused(code.reason().into()),
        // The reason text of the server is part of this.
        reason => unless_refused(clean(reason)),
    }
}
