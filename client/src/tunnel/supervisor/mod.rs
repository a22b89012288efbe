//! Keeps the tunnel up: dials, watches the control stream, and dials again.
//!
//! The only writer of the tunnel's status. A successful handshake is not yet a working tunnel: the server may
//! refuse the Hello one round trip later. If a working connection becomes silent, another one is dialed
//! beside it, and the one that responds first is used. If its server drains, another server is dialed beside it,
//! and everything moves there once that has accepted this client.

mod backoff;
mod control_stream;
mod server_selector;

use super::address::AddressBook;
use super::config::TunnelConfig;
use super::dial::{ATTEMPT_TIMEOUT, DialError, DialedSession, RESTART_ATTEMPT_TIMEOUT, dial};
use super::liveness::{LivenessMonitor, POLL_INTERVAL, Suspicion};
use super::segment_budget::SharedUsage;
use super::session::Session;
use super::status::TunnelStatus;
use crate::counters::TunnelCounters;
use backoff::{DIAL_SCHEDULE, REFUSED_SCHEDULE, RESTART_SCHEDULE, RESTART_WINDOW};
use control_stream::{SessionEnd, read_welcome, watch_control_stream};
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::DRAIN_TIMEOUT;
use docxy_protocol::text::{CleanText, clean};
use docxy_transport::Session as Transport;
use server_selector::{DialTarget, ServerSelector};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The fault of requests between the close of a connection with the old configuration and the first one with
/// the new.
const CONFIG_CHANGED: &str = "the links, the congestion control or the rate limit were changed";

/// Runs until `stop`. Starts again at each change of the configuration.
pub(super) async fn supervise(
    mut config: watch::Receiver<TunnelConfig>,
    status: watch::Sender<TunnelStatus>,
    counters: TunnelCounters,
    stop: CancellationToken,
) {
    let usage = Arc::default();
    let book = AddressBook::open(config.borrow().cache.as_deref());
    let mut lost_since = None;
    loop {
        let current = config.borrow_and_update().clone();
        let server_selector = ServerSelector::new(current.links.len());
        let usage = Arc::clone(&usage);
        let mut supervisor = Supervisor {
            config: current,
            server_selector,
            usage,
            book: book.clone(),
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
    book: AddressBook,
    /// When the last connection was lost; `None` before the first.
    lost_since: Option<SystemTime>,
    status: &'a watch::Sender<TunnelStatus>,
    counters: &'a TunnelCounters,
}

impl Supervisor<'_> {
    async fn reconnect_loop(&mut self) {
        let mut down_since = Instant::now();
        let mut backoff = Backoff::new(DIAL_SCHEDULE);
        // Until when the next process of a server that has ended is expected.
        let mut restart_until = None;
        loop {
            let begun = Instant::now();
            let target = match self.server_selector.next(begun) {
                Ok(target) => target,
                Err(until) => {
                    tokio::time::sleep_until(until.into()).await;
                    continue;
                }
            };
            let timeout = if is_before(restart_until) { RESTART_ATTEMPT_TIMEOUT } else { ATTEMPT_TIMEOUT };
            let (target, ended) = match self.dial(target, timeout).await {
                Ok(dialed) => self.run_session(target, dialed).await,
                Err(error) if error.is_shutdown() => (target, SessionEnd::NotAccepted(clean(error))),
                Err(error) => (target, SessionEnd::Failed(clean(error))),
            };
            if let SessionEnd::Lost(reason) | SessionEnd::ServerEnded(reason) = &ended {
                self.counters.disconnected(reason);
                self.lost_since = Some(SystemTime::now());
                down_since = Instant::now();
                backoff.reset();
            }
            let reason = match ended {
                SessionEnd::Lost(reason) => {
                    tracing::warn!(reason = %reason, "tunnel lost; reconnecting");
                    self.server_selector.worked(target);
                    reason
                }
                SessionEnd::ServerEnded(reason) | SessionEnd::NotAccepted(reason) => {
                    if is_before(restart_until) {
                        tracing::debug!(reason = %reason, "the server has not ended yet");
                    } else {
                        tracing::warn!(reason = %reason, "the server ends; connecting to another one, or to the next process");
                    }
                    restart_until = Some(Instant::now() + RESTART_WINDOW);
                    // Another server runs already.
                    self.server_selector.ends(target);
                    reason
                }
                SessionEnd::Failed(reason) => {
                    tracing::warn!(reason = %reason, "no tunnel yet; trying again");
                    // While a server restarts, its next process is expected at the same address.
                    if is_before(restart_until) {
                        self.server_selector.ends(target);
                    } else {
                        self.server_selector.failed(target);
                    }
                    reason
                }
                SessionEnd::Refused(reason) => {
                    self.refused(target, &reason);
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
            let delay = if is_before(restart_until) {
                Backoff::new(RESTART_SCHEDULE).next_delay(Duration::ZERO, random_fraction())
            } else {
                backoff.next_delay(down_since.elapsed(), random_fraction())
            };
            // The delay counts from the start of the attempt. So after the loss of an old connection there is
            // none: a request may be waiting, and most losses are short.
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn dial(&self, target: DialTarget, timeout: Duration) -> Result<DialedSession, DialError> {
        let TunnelConfig { links, leg, .. } = &self.config;
        let (link, leg) = (&links[target.server], leg.leg());
        dial(link, &self.config, leg, target.attempt, timeout, &self.usage, &self.book).await
    }

    /// Skips a server for a while that refuses this client.
    fn refused(&mut self, target: DialTarget, reason: &CleanText) {
        tracing::error!(%reason, "the server refuses this client");
        let delay = Backoff::new(REFUSED_SCHEDULE).next_delay(Duration::ZERO, random_fraction());
        self.server_selector.refused(target, Instant::now() + delay);
    }

    /// Publishes the session until it ends. Replaces it if it becomes silent, or if its server drains and another one
    /// responds. The transfers of a replaced session continue on the next one.
    async fn run_session(
        &mut self,
        mut target: DialTarget,
        mut dialed: DialedSession,
    ) -> (DialTarget, SessionEnd) {
        let (counters, mut is_welcome) = (self.counters, false);
        self.publish(&dialed.session);
        loop {
            let DialedSession { session, mut control, address } = dialed;
            let (transport, draining) = (session.transport(), CancellationToken::new());
            let watched = async {
                if !is_welcome
                    && let Err(ended) = read_welcome(&mut control, transport, address, counters).await
                {
                    return ended;
                }
                watch_control_stream(control, transport, &draining).await
            };
            let successor = tokio::select! {
                ended = watched => return (target, ended),
                successor = self.successor(target, transport, &draining) => successor,
            };
            self.lost_since = Some(SystemTime::now());
            self.publish(&successor.dialed.session);
            if draining.is_cancelled() {
                tokio::spawn(session.replaced());
            } else {
                transport.close(CloseCode::Done);
            }
            Successor { target, dialed, is_welcome } = successor;
        }
    }

    fn publish(&self, session: &Session) {
        self.status.send_replace(TunnelStatus::Up { session: session.clone(), since: SystemTime::now() });
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

    /// Waits until another session can replace this one.
    async fn successor(
        &mut self,
        target: DialTarget,
        transport: &Transport,
        draining: &CancellationToken,
    ) -> Successor {
        let (target, dialed) = tokio::select! {
            replacement = self.wait_for_replacement(transport) => replacement,
            () = draining.cancelled() => {
                self.server_selector.drains(target, Instant::now() + DRAIN_TIMEOUT);
                tracing::info!(servers = self.config.links.len(), "the server drains; dialing another one");
                // Until another server has accepted this client, requests go on here, the last and new ones: they would
                // have to wait for the next process, and engines do not wait as long as a drain may take.
                tokio::select! {
                    successor = self.dial_other_server(target) => return successor,
                    _ = suspicion(transport) => self.wait_for_replacement(transport).await,
                }
            }
        };
        Successor { target, dialed, is_welcome: false }
    }

    /// Dials the other servers until one accepts this client. Never ends if there is none.
    async fn dial_other_server(&mut self, than: DialTarget) -> Successor {
        let (draining_since, mut backoff) = (Instant::now(), Backoff::new(DIAL_SCHEDULE));
        loop {
            let begun = Instant::now();
            if let Some(target) = self.server_selector.next_other(than, begun) {
                match self.dial_until_welcome(target).await {
                    Ok(dialed) => return Successor { target, dialed, is_welcome: true },
                    Err(SessionEnd::Refused(reason)) => self.refused(target, &reason),
                    Err(ended) => {
                        tracing::info!(reason = %ended.reason(), "no other server yet");
                        self.server_selector.failed(target);
                    }
                }
            }
            let delay = backoff.next_delay(draining_since.elapsed(), random_fraction());
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn dial_until_welcome(&self, target: DialTarget) -> Result<DialedSession, SessionEnd> {
        let dialed = self.dial(target, ATTEMPT_TIMEOUT).await;
        let mut dialed = dialed.map_err(|error| SessionEnd::Failed(clean(error)))?;
        let transport = dialed.session.transport();
        read_welcome(&mut dialed.control, transport, dialed.address, self.counters).await?;
        Ok(dialed)
    }

    /// Dials until an attempt succeeds, each from a fresh port.
    async fn dial_replacement(&mut self) -> (DialTarget, DialedSession) {
        let (silent_since, mut backoff) = (Instant::now(), Backoff::new(DIAL_SCHEDULE));
        loop {
            let begun = Instant::now();
            match self.server_selector.next(begun) {
                Ok(target) => match self.dial(target, ATTEMPT_TIMEOUT).await {
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

/// The session that replaces another one.
struct Successor {
    target: DialTarget,
    dialed: DialedSession,
    /// Whether the server has accepted this client.
    is_welcome: bool,
}

/// Whether it is not this time yet.
fn is_before(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
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
