//! One server: what all its sessions share, and what is known of it now.
//!
//! Only records. Must never decide which server is used: the [`selector`] does.

pub(super) mod selector;
mod silence;
pub(super) mod status;

use super::config::Trust;
use super::segment_budget::{ClientUsage, ServerUsage};
use super::session::Session;
use super::status::TunnelStatus;
use parking_lot::Mutex;
use silence::silence_limit;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The number of a server. A link that is configured again gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(pub(super) u64);

impl ServerId {
    /// The number of a server of a test.
    #[cfg(test)]
    pub(crate) const fn of_test(id: u64) -> Self {
        Self(id)
    }
}

/// What all sessions of one server share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) id: ServerId,
    /// Host and ports of its link.
    pub(super) name: String,
    pub(super) trust: Trust,
    pub(super) usage: Arc<ServerUsage>,
    /// When a datagram of it was last noticed, and how many its session had received then.
    heard: Mutex<Option<(Instant, u64)>>,
    /// Whether other programs of this user have all connections to it.
    pub(super) lacks_permit: AtomicBool,
}

/// How far a session can be relied on. The greater one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The server does not acknowledge.
    Silent,
    /// The server has not accepted this client yet. Requests may follow the Hello at once.
    Greeting,
    /// The server shuts down. It serves this client until its end.
    Draining,
    /// Everything is well.
    Good,
}

/// What is known of one server at one moment.
#[derive(Debug, Clone)]
pub struct ServerState {
    pub(super) server: Arc<Server>,
    pub(crate) status: TunnelStatus,
    /// The condition of the session, while there is one.
    pub(crate) condition: Condition,
}

/// The states of all servers, in the order of their links. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Servers(Arc<watch::Sender<Vec<ServerState>>>);

impl Server {
    pub(super) fn new(id: u64, name: String, trust: Trust, usage: Arc<ClientUsage>) -> Arc<Self> {
        let usage = Arc::new(ServerUsage::new(usage));
        Arc::new(Self {
            id: ServerId(id),
            name,
            trust,
            usage,
            heard: Mutex::default(),
            lacks_permit: AtomicBool::default(),
        })
    }

    /// A server of a test.
    #[cfg(test)]
    pub(crate) fn of_test(trust: Trust) -> Arc<Self> {
        Self::new(0, "server.test:1".into(), trust, Arc::default())
    }

    /// A server to which the line has this rate, in bytes per second.
    #[cfg(test)]
    pub(crate) fn of_rate(rate: f64) -> Arc<Self> {
        let server = Self::of_test(Trust::Trusted);
        server.usage.set_rate(rate);
        server
    }

    /// A datagram of it was noticed, of so many.
    pub(super) fn hear(&self, now: Instant, datagrams: u64) {
        *self.heard.lock() = Some((now, datagrams));
    }

    /// Whether a datagram of it was noticed since then.
    pub(super) fn was_heard_since(&self, since: Instant) -> bool {
        self.heard.lock().is_some_and(|(heard, _)| heard >= since)
    }
}

impl ServerState {
    /// A server without a session.
    pub(super) fn new(server: Arc<Server>, status: TunnelStatus) -> Self {
        Self { server, status, condition: Condition::Greeting }
    }

    /// A server of a test with this status.
    #[cfg(test)]
    pub(crate) fn of_test(server: Arc<Server>, status: TunnelStatus) -> Self {
        Self { server, status, condition: Condition::Good }
    }

    /// Host and ports, as in its link.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.server.name
    }

    /// Whether it has this number.
    pub(crate) fn has_id(&self, id: ServerId) -> bool {
        self.server.id == id
    }

    /// Whether credentials may go there.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.server.trust == Trust::Trusted
    }

    /// Whether both are the same server.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.server.id == other.server.id
    }

    /// What it has sent lately, in bytes per second, if that was measured.
    #[must_use]
    pub fn goodput(&self) -> Option<u64> {
        self.server.usage.rate().map(|(rate, _)| rate as u64)
    }

    /// The large bodies that come from it.
    #[must_use]
    pub fn bodies(&self) -> usize {
        self.server.usage.bodies()
    }

    /// Its session.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        match &self.status {
            TunnelStatus::Up { session, .. } => Some(session),
            _ => None,
        }
    }

    /// How long nothing was heard of its session until `now`, if that is longer than one that works is silent. A session
    /// that is suspected is used until it is given up: its line may come back, and then nothing is lost.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let path = self.session()?.transport().path();
        let (heard, datagrams) = (*self.server.heard.lock())?;
        let silence = now.saturating_duration_since(heard);
        let is_silent = match self.condition {
            Condition::Silent => true,
            Condition::Good | Condition::Draining => {
                silence > silence_limit(path.rtt) && path.datagrams_received == datagrams
            }
            // The liveness counts what an unanswered Hello takes.
            Condition::Greeting => false,
        };
        is_silent.then_some(silence)
    }

    /// Whether everything that goes over `server` could go over this one as well.
    pub(super) fn can_replace(&self, server: &Server) -> bool {
        self.can_help(server) && self.server.trust >= server.trust
    }

    /// Whether what is public and goes over `server` could go over this one as well.
    pub(super) fn can_help(&self, server: &Server) -> bool {
        self.server.id != server.id && self.session().is_some() && self.condition == Condition::Good
    }
}

impl Servers {
    pub(super) fn new() -> (Self, watch::Receiver<Vec<ServerState>>) {
        let (sender, receiver) = watch::channel(Vec::new());
        (Self(Arc::new(sender)), receiver)
    }

    /// Replaces the servers. Those that are known keep their state, and the others get this one.
    pub(super) fn replace(&self, servers: impl Iterator<Item = Arc<Server>>, initial: &TunnelStatus) {
        self.0.send_modify(|states| {
            let known = |server: &Server| states.iter().find(|state| state.server.id == server.id).cloned();
            let state = |server: Arc<Server>| {
                known(&server).unwrap_or_else(|| ServerState::new(server, initial.clone()))
            };
            *states = servers.map(state).collect();
        });
    }

    pub(super) fn states(&self) -> Vec<ServerState> {
        self.0.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<ServerState>> {
        self.0.subscribe()
    }

    /// Changes the state of one server. Does nothing for one that is not configured any more.
    pub(super) fn update(&self, id: ServerId, change: impl FnOnce(&mut ServerState)) {
        self.0.send_if_modified(|states| {
            let state = states.iter_mut().find(|state| state.server.id == id);
            state.map(change).is_some()
        });
    }

    /// Waits until `condition` holds for the states.
    pub(super) async fn wait_until(&self, condition: impl FnMut(&Vec<ServerState>) -> bool) {
        // This handle is a sender, so the channel stays open.
        let _ = self.subscribe().wait_for(condition).await;
    }

    /// Whether another server was heard since then: this one is silent, and the network is up.
    pub(super) fn has_live_replacement(&self, server: &Server, since: Instant) -> bool {
        let states = self.0.borrow();
        states.iter().any(|state| state.can_help(server) && state.server.was_heard_since(since))
    }

    /// Makes all other servers show whether they are alive.
    pub(super) fn probe_others(&self, server: &Server) {
        for state in self.states().iter().filter(|state| state.can_help(server)) {
            state.session().inspect(|session| session.transport().probe());
        }
    }
}
