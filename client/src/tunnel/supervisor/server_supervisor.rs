//! Keeps the session with one server up: dials, watches the control stream, and dials again.
//!
//! The only writer of the server's state. A successful handshake is not yet a working session: the server may
//! refuse the Hello one round trip later. What takes the place of a session is in [`super::successor`].

use super::backoff::{
    DIAL_SCHEDULE, LEFT_SCHEDULE, REFUSED_SCHEDULE, RESTART_SCHEDULE, RESTART_WINDOW, SPARE_LINGER,
};
use super::control_stream::{SessionEnd, read_welcome, watch_control_stream};
use super::failure_log::FailureLog;
use super::legs::Legs;
use super::race::race;
use super::successor::{Successor, loss_of_silent};
use crate::status::counters::TunnelCounters;
use crate::tunnel::dial::{
    ATTEMPT_TIMEOUT, DialError, DialOptions, DialedSession, RESTART_ATTEMPT_TIMEOUT, dial,
};
use crate::tunnel::leg::{DialOrder, SessionLoss, UseReason, Way};
use crate::tunnel::reason::LineReason;
use crate::tunnel::selector::{Standing, wanted};
use crate::tunnel::server::{Condition, Server, ServerId, ServerState, Servers};
use crate::tunnel::status::{Refuser, TunnelStatus};
use docxy_host::random::random_fraction;
use docxy_host::trouble::Trouble;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::control::CloseCode;
use docxy_protocol::link::Link;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// A dial.
pub(super) trait Attempt: Future<Output = Result<DialedSession, DialError>> + Send {}

impl<T: Future<Output = Result<DialedSession, DialError>> + Send> Attempt for T {}

pub(super) struct ServerSupervisor {
    pub(super) link: Link,
    pub(super) options: DialOptions,
    pub(super) legs: Legs,
    pub(super) server: Arc<Server>,
    pub(super) servers: Servers,
    pub(super) counters: TunnelCounters,
    /// Grows with each failure, and selects the next port.
    pub(super) attempt: AtomicUsize,
    /// When the last connection was lost; `None` before the first.
    pub(super) lost_since: Option<SystemTime>,
    /// Whether the server drains, and public content has moved to others that are not trusted.
    pub(super) public_has_moved: AtomicBool,
    /// That of the last session.
    pub(super) last_way: Option<Way>,
    /// That QUIC does not come up, or breaks.
    pub(super) udp: Trouble,
}

impl ServerSupervisor {
    /// Never ends.
    pub(super) async fn run(mut self) {
        let mut down_since = Instant::now();
        let mut backoff = Backoff::new(DIAL_SCHEDULE);
        // Until when the next process of a server that has ended is expected.
        let mut restart_until = None;
        let mut failures = FailureLog::default();
        loop {
            self.wait_until_wanted().await;
            let begun = Instant::now();
            let timeout = if is_before(restart_until) { RESTART_ATTEMPT_TIMEOUT } else { ATTEMPT_TIMEOUT };
            let mut order = self.legs.dial_order(SessionLoss::Ended);
            if is_before(restart_until) {
                // Until the next process listens, chance would decide between the ways.
                order.ways.truncate(1);
            }
            let ended = match self.dial(order, timeout).await {
                Ok((dialed, attempt)) => {
                    let ended = self.run_session(dialed, attempt).await;
                    self.legs.lost(ended.loss());
                    ended
                }
                Err(error) if error.is_shutdown() => SessionEnd::NotAccepted(error.into()),
                // Later, the network may have changed, and what has answered is not the server.
                Err(error) => match error.refuser().filter(|_| self.lost_since.is_none()) {
                    Some(by) => SessionEnd::Hopeless(by, error.into()),
                    None => SessionEnd::Failed(error.into()),
                },
            };
            if let SessionEnd::Lost(reason) | SessionEnd::ServerEnded(reason) = &ended {
                self.counters.disconnected(reason);
                self.lost_since = Some(SystemTime::now());
                down_since = Instant::now();
                backoff.reset();
                failures = FailureLog::default();
            }
            self.public_has_moved.fetch_and(matches!(ended, SessionEnd::Left), Ordering::Relaxed);
            let server = &*self.server.name;
            let reason = match ended {
                SessionEnd::Lost(reason) => {
                    tracing::warn!(server, reason = %reason, "tunnel lost; reconnecting");
                    reason
                }
                SessionEnd::ServerEnded(reason) | SessionEnd::NotAccepted(reason) => {
                    if is_before(restart_until) {
                        tracing::debug!(server, reason = %reason, "the server has not ended yet");
                    } else {
                        tracing::warn!(server, reason = %reason, "the server ends; connecting to the next process");
                    }
                    restart_until = Some(Instant::now() + RESTART_WINDOW);
                    reason
                }
                SessionEnd::Failed(reason) => {
                    if failures.admit(&reason.text) {
                        tracing::warn!(server, %reason, "no tunnel yet; trying again");
                    }
                    // While a server restarts, its next process is expected at the same address.
                    if !is_before(restart_until) {
                        self.next_port();
                    }
                    reason
                }
                SessionEnd::Hopeless(by, reason) => {
                    if failures.admit(&reason.text) {
                        tracing::warn!(server, %reason, "no tunnel; trying again");
                    }
                    self.next_port();
                    self.set_status(TunnelStatus::Refused { by, reason });
                    let delay = backoff.next_delay(down_since.elapsed(), random_fraction());
                    tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
                    continue;
                }
                SessionEnd::Refused(reason) => {
                    tracing::warn!(server, %reason, "the server refuses this client");
                    let text = format!("{server} refuses this client: {reason}");
                    let reason = LineReason::new(reason.cause, text);
                    self.set_status(TunnelStatus::Refused { by: Refuser::Server, reason });
                    tokio::time::sleep(first_delay(REFUSED_SCHEDULE)).await;
                    continue;
                }
                SessionEnd::Left => {
                    self.lost_since = Some(SystemTime::now());
                    // Others serve this client meanwhile.
                    self.set_down(CloseCode::Draining.into());
                    self.wait_for_need(first_delay(LEFT_SCHEDULE)).await;
                    continue;
                }
                SessionEnd::Released => continue,
            };
            self.set_down(reason);
            let delay = if is_before(restart_until) {
                first_delay(RESTART_SCHEDULE)
            } else {
                backoff.next_delay(down_since.elapsed(), random_fraction())
            };
            // The delay counts from the start of the attempt. So after the loss of an old connection there is
            // none: a request may be waiting, and most losses are short.
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Dials the ways in this order. The first that is up counts. QUIC's attempt may go on.
    pub(super) async fn dial(
        &self,
        order: DialOrder,
        timeout: Duration,
    ) -> Result<(DialedSession, Option<impl Attempt + Unpin + use<>>), DialError> {
        race(order, |way| self.dial_way(way, timeout)).await
    }

    /// The one place that dials.
    pub(super) fn dial_way(&self, way: Way, timeout: Duration) -> impl Attempt + use<> {
        let (link, options, server) = (self.link.clone(), self.options.clone(), Arc::clone(&self.server));
        let attempt = self.attempt.load(Ordering::Relaxed);
        async move { dial(&link, &options, way, attempt, timeout, &server).await }
    }

    /// The next attempt dials the next port.
    pub(super) fn next_port(&self) {
        self.attempt.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits while enough other servers are connected.
    async fn wait_until_wanted(&mut self) {
        let id = self.server.id;
        if !is_wanted(&self.servers.states(), id) {
            self.lost_since = None;
            self.set_status(TunnelStatus::Spare);
            self.servers.wait_until(|states| is_wanted(states, id)).await;
            self.set_status(TunnelStatus::Connecting { reason: None });
        }
    }

    /// Waits for this long, or until no other server can replace this one.
    async fn wait_for_need(&self, delay: Duration) {
        let needed = |states: &Vec<ServerState>| !states.iter().any(|state| state.can_replace(&self.server));
        let _ = tokio::time::timeout(delay, self.servers.wait_until(needed)).await;
    }

    /// Publishes the session until it ends. Replaces it if it becomes silent. The transfers of a replaced session
    /// continue on the next one, or on those of other servers.
    async fn run_session(&mut self, mut dialed: DialedSession, attempt: Option<impl Attempt>) -> SessionEnd {
        self.publish(&dialed, self.legs.up(dialed.way));
        let mut attempt = attempt.filter(|_| self.legs.race_goes_on());
        loop {
            let DialedSession { session, mut control, address, .. } = dialed;
            let (servers, id) = (self.servers.clone(), self.server.id);
            let (counters, transport) = (Arc::clone(&self.counters), session.transport());
            let draining = CancellationToken::new();
            let watched = async {
                if !session.is_welcome()
                    && let Err(ended) = read_welcome(&mut control, &session, address, &counters).await
                {
                    return ended;
                }
                // A session on trial does not count before it is in use.
                counters.connects.increment();
                let begun = || {
                    let is_draining = draining.is_cancelled();
                    let condition = if is_draining { Condition::Draining } else { Condition::Good };
                    servers.update(id, |state| state.condition = condition);
                };
                watch_control_stream(control, &session, &draining, begun).await
            };
            let successor = tokio::select! {
                ended = watched => Err(ended),
                successor = self.successor(&session, &draining) => Ok(successor),
                successor = self.better_leg(&session, attempt.take()) => Ok(successor),
            };
            session.count_bytes(&counters);
            let successor = match successor {
                Ok(successor) => successor,
                Err(ended) => return ended,
            };
            match successor {
                Successor::OthersThan(ended @ SessionEnd::Lost(_)) => {
                    transport.close(CloseCode::Done);
                    return ended;
                }
                Successor::OthersThan(ended) => {
                    tokio::spawn(session.replaced());
                    return ended;
                }
                Successor::Session(next) => {
                    self.lost_since = Some(SystemTime::now());
                    self.legs.lost(loss_of_silent(&session));
                    self.publish(&next, self.legs.up(next.way));
                    transport.close(CloseCode::Done);
                    dialed = *next;
                }
                Successor::Beside(next, reason) => {
                    self.publish(&next, reason);
                    tokio::spawn(session.replaced());
                    dialed = *next;
                }
            }
        }
    }

    fn publish(&mut self, dialed: &DialedSession, reason: Option<UseReason>) {
        let way = dialed.way;
        let (server, before) = (&*self.server.name, self.last_way.replace(way));
        let is_fallback = matches!(reason, Some(UseReason::FirstUp | UseReason::OtherBroke));
        if way == Way::Quic && self.udp.end(Instant::now()).is_some() {
            tracing::info!(server, "UDP gets through again: QUIC is used");
        } else if way != Way::Quic && is_fallback && self.udp.begin(Instant::now()) {
            let reason = reason.map(tracing::field::display);
            tracing::warn!(server, %way, reason, "UDP may be blocked: QUIC is not used for now");
        } else if before.is_some_and(|before| before != way) {
            tracing::info!(server, %way, reason = reason.map(tracing::field::display), "the way has changed");
        }
        let session = dialed.session.clone();
        session.set_use_reason(reason);
        self.server.hear(Instant::now(), session.transport().path().datagrams_received);
        let status = TunnelStatus::Up { session: Box::new(session), since: SystemTime::now() };
        let condition = if dialed.session.is_welcome() { Condition::Good } else { Condition::Greeting };
        self.servers.update(self.server.id, |state| (state.status, state.condition) = (status, condition));
    }

    pub(super) fn set_condition(&self, condition: Condition) {
        self.servers.update(self.server.id, |state| state.condition = condition);
    }

    /// Whether the session in use is to be replaced since it is silent.
    pub(super) fn is_silent(&self) -> bool {
        let is_this = |state: &&ServerState| state.server.id == self.server.id;
        self.servers.states().iter().find(is_this).is_some_and(|state| state.condition == Condition::Silent)
    }

    fn set_status(&self, status: TunnelStatus) {
        self.servers.update(self.server.id, |state| state.status = status);
    }

    fn set_down(&self, reason: LineReason) {
        self.set_status(match self.lost_since {
            Some(since) => TunnelStatus::Down { since, reason },
            None => TunnelStatus::Connecting { reason: Some(reason) },
        });
    }
}

fn first_delay(schedule: Schedule) -> Duration {
    Backoff::new(schedule).next_delay(Duration::ZERO, random_fraction())
}

/// Whether it is not this time yet.
fn is_before(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

/// Whether this server is to be connected.
fn is_wanted(states: &[ServerState], id: ServerId) -> bool {
    let standing = |state: &ServerState| Standing { fails: state.status.fails(), trust: state.server.trust };
    let standings: Vec<_> = states.iter().map(standing).collect();
    states.iter().zip(wanted(&standings)).any(|(state, is_wanted)| state.server.id == id && is_wanted)
}

/// Resolves when this server has not been wanted for a while.
pub(super) async fn wait_until_spare(servers: &Servers, id: ServerId) {
    loop {
        servers.wait_until(|states| !is_wanted(states, id)).await;
        tokio::select! {
            () = tokio::time::sleep(SPARE_LINGER) => return,
            () = servers.wait_until(|states| is_wanted(states, id)) => {}
        }
    }
}
