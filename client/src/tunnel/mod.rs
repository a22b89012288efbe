//! The sessions with the servers: one for each joined link, which is replaced when it is lost.
//!
//! Other modules receive the [`Session`] that suits their request, or a fault that says why there is none. Must never
//! stop reconnecting: only the user ends it.

mod address;
mod config;
mod deadline;
mod dial;
pub mod leg;
mod line;
mod liveness;
mod network_memory;
mod reason;
mod server;
mod session;
mod supervisor;
#[cfg(test)]
mod tests;

pub use config::{
    Congestion, JoinedLink, LegChoice, LegChoiceError, ProxyChoice, Rates, Trust, TunnelConfig,
};
pub use contact::{Contact, contact};
pub use deadline::Deadline;
pub use line::Line;
pub use need::Need;
pub(crate) use probe::{EchoError, ProbeError, ProbedSession, ServerProbe};
pub(crate) use range_habits::RangeHabits;
pub use reason::{LineCause, LineReason};
pub use segment_budget::{BodyShare, SegmentBudget, SegmentPermit};
#[cfg(test)]
pub(crate) use server::Server;
pub use server::{Condition, ServerId, ServerState};
pub use session::{LostSession, Session};
pub use status::TunnelStatus;

use crate::status::counters::TunnelCounters;
use dial::{contact, probe};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use need::Size;
use parking_lot::Mutex;
use selector::{Candidate, Selector};
use server::{Servers, selector, status};
use session::{need, range_habits, segment_budget};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;

/// How long a request waits for the first connection attempt.
const FIRST_ATTEMPT_WAIT: Duration = Duration::from_secs(2);

/// How much longer a command waits while others have all connections: until the next attempts.
const PERMIT_WAIT: Duration = Duration::from_secs(5);

/// The fault while there is no server: the last link was removed.
const NO_LINK: &str = "no link is joined: run `docxy-client join`; a running client takes the link at once";

/// A handle on the tunnel.
#[derive(Debug, Clone)]
pub struct Tunnel {
    servers: watch::Receiver<Vec<ServerState>>,
    selector: Arc<Mutex<Selector>>,
    config: watch::Sender<TunnelConfig>,
    counters: TunnelCounters,
    line: Line,
    /// Set when the servers are dialed.
    start: Arc<SetOnce<()>>,
    stop: CancellationToken,
}

impl Tunnel {
    /// Starts to connect to the servers in the background.
    #[must_use]
    pub fn start(config: TunnelConfig) -> Self {
        let tunnel = Self::on_demand(config);
        tunnel.dial();
        tunnel
    }

    /// A tunnel that starts when a session is requested.
    #[must_use]
    pub fn on_demand(config: TunnelConfig) -> Self {
        let (servers, receiver) = Servers::new();
        let (config, changes) = watch::channel(config);
        let tunnel = Self::of(receiver, config);
        let Self { counters, start, stop, .. } = tunnel.clone();
        tokio::spawn(async move {
            if stop.run_until_cancelled(start.wait()).await.is_some() {
                supervisor::supervise(changes, servers, counters, stop).await;
            }
        });
        tunnel
    }

    /// A tunnel whose sessions the test makes.
    #[cfg(test)]
    pub(crate) fn of_servers(servers: watch::Receiver<Vec<ServerState>>) -> Self {
        Self::of(servers, watch::channel(TunnelConfig::default()).0)
    }

    fn of(servers: watch::Receiver<Vec<ServerState>>, config: watch::Sender<TunnelConfig>) -> Self {
        let (selector, counters) = (Arc::default(), TunnelCounters::default());
        let (line, start, stop) = (Line::default(), Arc::default(), CancellationToken::new());
        Self { servers, selector, config, counters, line, start, stop }
    }

    fn dial(&self) {
        // It may be set already.
        let _ = self.start.set(());
    }

    /// Whether it was started.
    pub(crate) fn is_started(&self) -> bool {
        self.start.initialized()
    }

    /// Applies a new configuration. Sessions of links that have changed are closed and new ones are dialed, on which
    /// transfers continue. Returns whether it differs.
    pub(crate) fn set(&self, config: TunnelConfig) -> bool {
        self.config.send_if_modified(|current| {
            let differs = *current != config;
            *current = config;
            differs
        })
    }

    /// The configuration in use.
    pub(crate) fn config(&self) -> TunnelConfig {
        self.config.borrow().clone()
    }

    /// Counts since the start.
    pub(crate) const fn counters(&self) -> &TunnelCounters {
        &self.counters
    }

    /// What the line was like in the last minutes, while [`Self::measure`] runs.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// The state of the server in use, or of all if none is connected.
    #[must_use]
    pub fn status(&self) -> TunnelStatus {
        self.in_use().map_or_else(|| self.fault_status(Trust::Untrusted), |state| state.status)
    }

    /// The server that small requests without a credential use.
    #[must_use]
    pub fn in_use(&self) -> Option<ServerState> {
        let states = self.servers.borrow();
        let chosen = self.selector.lock().choose(&candidates(&states, Need::ANY, None));
        states.iter().find(|state| Some(state.server.id) == chosen).cloned()
    }

    /// Makes requests use this server, of those that may see them, while no other one is in a better condition. `None`
    /// leaves the choice to the selector. Returns whether there is such a server.
    pub(crate) fn prefer(&self, name: Option<&str>) -> bool {
        let states = self.servers.borrow();
        let found = name.map(|name| states.iter().find(|state| state.name() == name));
        let is_known = !matches!(found, Some(None));
        if is_known {
            self.selector.lock().preferred = found.flatten().map(|state| state.server.id);
        }
        is_known
    }

    /// The server that the user prefers.
    pub(crate) fn preferred(&self) -> Option<ServerId> {
        self.selector.lock().preferred
    }

    /// The states of all servers, in the order of their links.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerState> {
        self.servers.borrow().clone()
    }

    /// Whether this session was not replaced yet.
    #[must_use]
    pub fn has(&self, session: &Session) -> bool {
        self.servers.borrow().iter().filter_map(ServerState::session).any(|known| known.is_same(session))
    }

    /// The best session that meets this need, other than `lost`. Waits for it until `deadline`, but not if there never
    /// was one or the servers refuse this client.
    ///
    /// # Errors
    /// A fault of the tunnel, with how long it is down, and why.
    pub async fn session(
        &self,
        need: Need,
        lost: Option<&LostSession>,
        deadline: Deadline,
    ) -> Result<Session, Fault> {
        self.dial();
        let mut servers = self.servers.clone();
        // Just after the start the first attempt is still running, and is worth a short wait.
        let first_attempt = servers.wait_for(|states| !is_first_attempt(states, need));
        let _ = tokio::time::timeout(FIRST_ATTEMPT_WAIT, first_attempt).await;
        let mut until = deadline.at;
        let is_decided = |states: &Vec<ServerState>| {
            !candidates(states, need, lost).is_empty() || is_pointless(states, need, deadline)
        };
        loop {
            match tokio::time::timeout_at(until.into(), servers.wait_for(is_decided)).await {
                Ok(Ok(states)) => match self.select(&states, need, lost) {
                    Some(session) => return Ok(session),
                    None if is_pointless(&states, need, deadline) => return Err(fault(&states, need.trust)),
                    // It was lost since it was found.
                    None => {}
                },
                // The supervisor has ended, so the client is shutting down.
                Ok(Err(_)) => {
                    return Err(Fault::new(Hop::Tunnel, FaultKind::Down, "the client is shutting down"));
                }
                // Other commands end, and this one can wait.
                Err(_) if deadline.includes_first_connect && lacks_permit(&self.servers(), need) => {
                    until = Instant::now() + PERMIT_WAIT;
                }
                Err(_) => return Err(fault(&self.servers.borrow(), need.trust)),
            }
        }
    }

    /// Ends when there is no link, or all servers refuse this client.
    pub(crate) async fn is_refused(&self) {
        let has_links = |config: &TunnelConfig| !config.links.is_empty();
        let is_refused = |state: &ServerState| matches!(state.status, TunnelStatus::Refused { .. });
        let all_refuse = |states: &Vec<ServerState>| !states.is_empty() && states.iter().all(is_refused);
        let (mut servers, mut config) = (self.servers.clone(), self.config.subscribe());
        let refused = servers.wait_for(all_refuse);
        let without_link = config.wait_for(|config| !has_links(config));
        tokio::select! {
            Ok(_) = refused => {}
            Ok(_) = without_link => {}
            else => {}
        }
    }

    /// Whether there is a session that meets this need now, other than `lost`.
    #[must_use]
    pub fn has_session(&self, need: Need, lost: Option<&LostSession>) -> bool {
        !candidates(&self.servers.borrow(), need, lost).is_empty()
    }

    /// A session that meets this need, with a server that is well and is none of these.
    #[must_use]
    pub fn session_elsewhere(&self, need: Need, than: &[ServerId]) -> Option<Session> {
        let states = self.servers();
        let is_other =
            |state: &ServerState| state.condition == Condition::Good && !than.contains(&state.server.id);
        let others: Vec<_> = states.into_iter().filter(is_other).collect();
        self.select(&others, need, None)
    }

    /// Why no request with this need can be sent now.
    pub(crate) fn fault(&self, need: Need) -> Fault {
        fault(&self.servers.borrow(), need.trust)
    }

    fn fault_status(&self, trust: Trust) -> TunnelStatus {
        let states = self.servers.borrow();
        if states.is_empty() {
            return TunnelStatus::Connecting { reason: Some(LineReason::new(LineCause::NoLink, NO_LINK)) };
        }
        TunnelStatus::of_all(eligible(&states, trust).map(|state| &state.status))
    }

    /// Tells why no server was connected yet, each time that the reason changes. Never ends.
    pub async fn tell_failures(&self, tell: impl Fn(&CleanText)) -> Infallible {
        let (mut servers, mut told) = (self.servers.clone(), None);
        loop {
            let status = TunnelStatus::of_all(servers.borrow_and_update().iter().map(|state| &state.status));
            if let TunnelStatus::Connecting { reason: Some(reason) } = status
                && told.as_ref() != Some(&reason.text)
            {
                tell(&reason.text);
                told = Some(reason.text);
            }
            if servers.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    fn select(&self, states: &[ServerState], need: Need, lost: Option<&LostSession>) -> Option<Session> {
        let candidates = candidates(states, need, lost);
        let mut selector = self.selector.lock();
        let id = match (need.size, need.trust) {
            // Each server keeps to the maximum rate by itself: bodies of two would come at twice the rate.
            (Size::Body, _) if self.config.borrow().max_rate.down.is_some() => selector.nearest(&candidates),
            (Size::Body, _) => selector.for_body(&candidates, Instant::now()),
            (Size::Small, Trust::Untrusted) => selector.choose(&candidates),
            (Size::Small, Trust::Trusted) => selector.nearest(&candidates),
        };
        let session = states.iter().find(|state| Some(state.server.id) == id)?.session()?.clone();
        // Under the lock, so that bodies that begin together do not all select the same server.
        Some(if need.size == Size::Body { session.for_body() } else { session })
    }

    /// Closes the sessions, and waits until the close frames are sent.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut servers = self.servers.clone();
        // Ends when the supervisors drop their senders, after the sessions were closed.
        while servers.changed().await.is_ok() {}
    }
}

/// The servers that may see what a request of this kind shows.
fn eligible(states: &[ServerState], trust: Trust) -> impl Iterator<Item = &ServerState> + Clone {
    states.iter().filter(move |state| state.server.trust >= trust)
}

/// The servers from which one is selected.
fn candidates(states: &[ServerState], need: Need, lost: Option<&LostSession>) -> Vec<Candidate> {
    let candidate = |state: &ServerState| {
        let session = state.session().filter(|session| !session.is_lost(lost))?;
        let transport = session.transport();
        let usage = &state.server.usage;
        transport.close_reason().is_none().then(|| Candidate {
            id: state.server.id,
            condition: state.condition,
            round_trip: transport.path().rtt,
            goodput: usage.rate(),
            bodies: usage.bodies(),
        })
    };
    eligible(states, need.trust).filter_map(candidate).collect()
}

/// Whether no server has a session, and the first attempt of some is still running.
fn is_first_attempt(states: &[ServerState], need: Need) -> bool {
    let statuses = eligible(states, need.trust).map(|state| &state.status);
    let is_up = statuses.clone().any(|status| matches!(status, TunnelStatus::Up { .. }));
    let is_first = |status: &TunnelStatus| matches!(status, TunnelStatus::Connecting { reason: None });
    states.is_empty() || (!is_up && statuses.clone().any(is_first))
}

/// Whether the only way to a server is one on which this user's other programs have all connections.
fn lacks_permit(states: &[ServerState], need: Need) -> bool {
    eligible(states, need.trust).any(|state| state.server.lacks_permit.load(Ordering::Relaxed))
}

/// Whether it is pointless to wait for a session.
fn is_pointless(states: &[ServerState], need: Need, deadline: Deadline) -> bool {
    eligible(states, need.trust).all(|state| match state.status {
        TunnelStatus::Up { .. } | TunnelStatus::Down { .. } => false,
        TunnelStatus::Spare | TunnelStatus::Connecting { .. } => !deadline.includes_first_connect,
        TunnelStatus::Refused { .. } => true,
    })
}

/// Why no request can be sent that shows its server so much.
fn fault(states: &[ServerState], trust: Trust) -> Fault {
    if states.is_empty() {
        return Fault::new(Hop::Tunnel, FaultKind::Refused, NO_LINK);
    }
    let fault = TunnelStatus::of_all(eligible(states, trust).map(|state| &state.status)).to_fault();
    let has_trusted = eligible(states, trust).next().is_some();
    let would_do =
        |state: &&ServerState| state.server.trust < trust && (state.session().is_some() || !has_trusted);
    let Some(untrusted) = states.iter().find(would_do) else { return fault };
    let name = &untrusted.server.name;
    let detail = format!(
        "no trusted server is connected ({}); this request carries a credential, which goes to trusted servers only; \
         if {name} may see it: docxy-client links trust {name}",
        fault.detail
    );
    Fault::new(fault.hop, fault.kind, detail)
}
