//! What takes the place of a session that is silent, whose server drains, or that is no longer wanted.
//!
//! A silent session is replaced by another server at once if one is heard, else by a new connection that is dialed beside
//! it, and the one that responds first is used. If the server drains and another one can take over, everything moves
//! there. Must never leave a server while nothing else serves this client.

use super::backoff::DIAL_SCHEDULE;
use super::control_stream::SessionEnd;
use super::server_supervisor::{ServerSupervisor, wait_until_spare};
use crate::tunnel::dial::{ATTEMPT_TIMEOUT, DialedSession};
use crate::tunnel::leg::{SessionLoss, UseReason, Way};
use crate::tunnel::liveness::{Awaits, LivenessMonitor, POLL_INTERVAL, Suspicion, Verdict};
use crate::tunnel::reason::{LineCause, LineReason};
use crate::tunnel::server::{Condition, Server, ServerState, Servers};
use crate::tunnel::session::Session;
use docxy_host::random::random_fraction;
use docxy_host::trouble::Trouble;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::text::clean;
use docxy_transport::Session as Transport;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// How long after the machine has slept another server takes over, if it is heard and this one is not.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// What takes the place of a session.
pub(super) enum Successor {
    /// Another one with the same server.
    Session(Box<DialedSession>),
    /// One that was dialed beside this one, which still works, and why its leg is used.
    Beside(Box<DialedSession>, Option<UseReason>),
    /// Other servers, in this case.
    OthersThan(SessionEnd),
}

impl ServerSupervisor {
    /// Waits until something else can take the place of this session.
    pub(super) async fn successor(&self, session: &Session, draining: &CancellationToken) -> Successor {
        let (servers, id) = (self.servers.clone(), self.server.id);
        tokio::select! {
            successor = self.replacement_of_silent(session, draining) => return successor,
            () = wait_until_spare(&servers, id) => {
                tracing::info!(server = %self.server.name, "enough other servers are connected");
                return Successor::OthersThan(SessionEnd::Released);
            }
            () = draining.cancelled() => {}
        }
        tracing::info!(server = %self.server.name, "the server drains");
        self.set_condition(Condition::Draining);
        // Until another server can take over, requests go on here, the last and new ones: they would have to wait for
        // the next process, and engines do not wait as long as a drain may take.
        tokio::select! {
            takes_all = wait_for_takeover(&servers, &self.server, session, self.public_has_moved.load(Ordering::Relaxed)) => {
                self.public_has_moved.store(true, Ordering::Relaxed);
                if takes_all {
                    return Successor::OthersThan(SessionEnd::Left);
                }
                // The server ends with its last session, so the new one comes before the old one is closed.
                match self.dial_until_welcome(self.last_way.unwrap_or(Way::Tcp)).await {
                    Ok(next) => {
                        let reason = self.legs.up(next.way);
                        return Successor::Beside(Box::new(next), reason);
                    }
                    Err(reason) => {
                        tracing::info!(server = %self.server.name, %reason, "no new session with the server that drains");
                    }
                }
            }
            _ = self.suspicion(session) => {}
        }
        self.replacement_of_silent(session, draining).await
    }

    /// Resolves when the session is silent and something can replace it.
    async fn replacement_of_silent(&self, session: &Session, draining: &CancellationToken) -> Successor {
        let (transport, mut silence) = (session.transport(), Trouble::default());
        loop {
            let suspicion = self.suspicion(session).await;
            self.counters.silent_connections.increment();
            if silence.begin(Instant::now()) {
                tracing::info!(server = %self.server.name, ?suspicion, "connection silent");
            }
            self.set_condition(Condition::Silent);
            let (silent, patience) = match suspicion {
                Suspicion::Silent(silent) => (silent, Duration::ZERO),
                Suspicion::Slept(_) => (Duration::ZERO, WAKE_TIMEOUT),
            };
            let since = Instant::now().checked_sub(silent).unwrap_or_else(Instant::now);
            let (servers, server) = (self.servers.clone(), Arc::clone(&self.server));
            tokio::select! {
                biased;
                () = wait_for_live_replacement(&servers, &server, since, patience) => {
                    let reason = format_args!("no response for {:.1} s; others respond", since.elapsed().as_secs_f64());
                    return Successor::OthersThan(SessionEnd::Lost(LineReason::new(LineCause::Silent, reason)));
                }
                dialed = self.dial_replacement(session) => return Successor::Session(Box::new(dialed)),
                () = wait_for_traffic(transport) => {
                    self.server.hear(Instant::now(), transport.path().datagrams_received);
                    if silence.end(Instant::now()).is_some() {
                        tracing::info!(server = %self.server.name, "the connection is back");
                    }
                }
            }
            self.set_condition(match (draining.is_cancelled(), session.is_welcome()) {
                (true, _) => Condition::Draining,
                (false, true) => Condition::Good,
                (false, false) => Condition::Greeting,
            });
        }
    }

    /// Dials until an attempt succeeds, each from a fresh port.
    async fn dial_replacement(&self, silent: &Session) -> DialedSession {
        let (silent_since, mut backoff) = (Instant::now(), Backoff::new(DIAL_SCHEDULE));
        loop {
            let begun = Instant::now();
            match self.dial(self.legs.dial_order(loss_of_silent(silent)), ATTEMPT_TIMEOUT).await {
                Ok((dialed, _)) => return dialed,
                Err(error) => {
                    tracing::debug!(reason = %clean(error), "no other connection yet");
                    self.next_port();
                }
            }
            let delay = backoff.next_delay(silent_since.elapsed(), random_fraction());
            tokio::time::sleep(delay.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Resolves when a session seems dead.
    async fn suspicion(&self, session: &Session) -> Suspicion {
        let transport = session.transport();
        let mut liveness = LivenessMonitor::new(transport.path(), Instant::now(), SystemTime::now());
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = (Instant::now(), SystemTime::now());
            let has_replacement = |since| {
                let is_heard = self.servers.has_live_replacement(&self.server, since);
                if !is_heard {
                    self.servers.probe_others(&self.server);
                }
                is_heard
            };
            let awaits = match (session.is_welcome(), session.has_requests()) {
                (false, _) => Awaits::Welcome,
                (true, true) => Awaits::Data,
                (true, false) => Awaits::Nothing,
            };
            let verdict = liveness.poll(transport.path(), awaits, has_replacement, now);
            self.server.hear(liveness.heard(), transport.path().datagrams_received);
            match verdict {
                Verdict::Alive => {}
                Verdict::Probe => transport.probe(),
                Verdict::Suspect(suspicion) => return suspicion,
            }
        }
    }
}

/// How a session counts that is replaced since it is silent.
pub(super) fn loss_of_silent(session: &Session) -> SessionLoss {
    if session.is_welcome() { SessionLoss::Broke } else { SessionLoss::Unanswered }
}

/// Resolves when others can go on with what runs on the session of a server that drains. Servers that are not trusted
/// take only a part of it, so this happens once: the rest goes on over a new session with this server. Returns whether
/// the others take all.
async fn wait_for_takeover(
    servers: &Servers,
    server: &Server,
    session: &Session,
    public_has_moved: bool,
) -> bool {
    let can_replace = |states: &[ServerState]| states.iter().any(|state| state.can_replace(server));
    let can_help = |states: &[ServerState]| states.iter().any(|state| state.can_help(server));
    let is_first = !public_has_moved && session.has_requests();
    servers.wait_until(|states| can_replace(states) || (is_first && can_help(states))).await;
    can_replace(&servers.states())
}

/// Resolves when a server that can replace this one was heard since then, after `patience` at the earliest.
async fn wait_for_live_replacement(servers: &Servers, server: &Server, since: Instant, patience: Duration) {
    if !patience.is_zero() {
        tokio::time::sleep(patience).await;
    }
    while !servers.has_live_replacement(server, since) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Resolves when a datagram arrives.
async fn wait_for_traffic(transport: &Transport) {
    let before = transport.path().datagrams_received;
    while transport.path().datagrams_received == before {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
