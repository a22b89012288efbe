//! The ways to one server: their policy, fed with the clock and the network, and what is remembered of it.
//!
//! Must never decide itself: the [policy](LegPolicy) does.

use crate::tunnel::config::LegChoice;
use crate::tunnel::leg::{
    DialOrder, Instruction, Knowledge, LegPolicy, SessionLoss, Traffic, UseReason, Way,
};
use crate::tunnel::network_memory::NetworkMemory;
use docxy_host::net::proxy::Proxy;
use docxy_host::platform::network::Network;
use docxy_host::random::random_fraction;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The time after which what was learned is stored although nothing was decided: goodput counts for a day.
const STORE_INTERVAL: Duration = Duration::from_secs(600);

/// What all servers share: the memory of networks, and the permission to write it.
pub(crate) type SharedMemory = Arc<Mutex<NetworkMemory>>;

pub(super) struct Legs {
    choice: LegChoice,
    has_proxy: bool,
    /// Host and ports of the server, and the proxy, if there is one.
    server: String,
    memory: SharedMemory,
    state: Mutex<State>,
}

struct State {
    network: Option<Network>,
    policy: LegPolicy,
    stored: Knowledge,
    stored_at: Instant,
}

impl Legs {
    /// `proxy` is the one that the environment names for this server. Of another one, other things are known.
    pub(super) fn new(
        choice: LegChoice,
        proxy: Option<&Proxy>,
        server: String,
        memory: SharedMemory,
    ) -> Self {
        let has_proxy = proxy.is_some();
        let server = proxy.map_or(server.clone(), |proxy| format!("{server} or by {proxy}"));
        let state = State::recall((choice, has_proxy), &server, &memory, network_for(choice));
        Self { choice, has_proxy, server, memory, state: Mutex::new(state) }
    }

    /// The ways to dial, as if the session in use, if there is one, were lost so now. On another network than before,
    /// other things are known.
    pub(super) fn dial_order(&self, loss: SessionLoss) -> DialOrder {
        let network = network_for(self.choice);
        let mut state = self.state.lock();
        let is_same = match (&network, &state.network) {
            (Some(now), Some(before)) => now.matches(before),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            tracing::info!(server = %self.server, "this is another network");
            let choice = (self.choice, self.has_proxy);
            *state = State::recall(choice, &self.server, &self.memory, network);
        }
        state.policy.dial_order(loss, Instant::now())
    }

    /// A session on this way is in use.
    pub(super) fn up(&self, way: Way) -> Option<UseReason> {
        self.decide(|policy, now| {
            policy.up(way, now);
            policy.in_use().map(|(_, reason)| reason)
        })
    }

    /// Whether QUIC's attempt, which lost the race, goes on beside the session in use.
    pub(super) fn race_goes_on(&self) -> bool {
        self.decide(|policy, _| policy.race_goes_on())
    }

    /// The session in use was lost.
    pub(super) fn lost(&self, loss: SessionLoss) {
        self.decide(|policy, now| policy.lost(loss, now, random_fraction()));
    }

    /// What the sessions have carried until now.
    pub(super) fn observe(&self, traffic: Traffic) -> Option<Instruction> {
        self.decide(|policy, now| policy.observe(now, traffic, random_fraction()))
    }

    /// The way that was dialed beside is up.
    pub(super) fn beside_up(&self) -> Option<Instruction> {
        self.decide(|policy, now| policy.beside_up(now))
    }

    /// It did not come up, or its session was lost.
    pub(super) fn beside_failed(&self) {
        self.decide(|policy, now| policy.beside_failed(now, random_fraction()));
    }

    /// It was not tried.
    pub(super) fn beside_not_tried(&self) {
        self.decide(|policy, now| policy.beside_not_tried(now));
    }

    /// Changes the policy, and stores what was learned if it decided something.
    fn decide<T>(&self, change: impl FnOnce(&mut LegPolicy, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let result = change(&mut state.policy, now);
        let known = state.policy.knowledge(now);
        let is_due = known.decisions() != state.stored.decisions()
            || (now.duration_since(state.stored_at) >= STORE_INTERVAL && known != state.stored);
        if is_due && let Some(network) = state.network.clone() {
            (state.stored, state.stored_at) = (known.clone(), now);
            let (memory, server) = (Arc::clone(&self.memory), self.server.clone());
            tokio::task::spawn_blocking(move || {
                memory.lock().store(&network, &server, known, SystemTime::now());
            });
        }
        result
    }
}

/// The network, if what is learned on it counts. A leg that is set says nothing about the better one.
fn network_for(choice: LegChoice) -> Option<Network> {
    (choice == LegChoice::Auto).then(Network::current)?
}

impl State {
    fn recall(
        (choice, has_proxy): (LegChoice, bool),
        server: &str,
        memory: &SharedMemory,
        network: Option<Network>,
    ) -> Self {
        let now = Instant::now();
        let recalled =
            network.as_ref().map(|network| memory.lock().recall(network, server, SystemTime::now()));
        let stored = recalled.unwrap_or_default();
        Self { network, policy: LegPolicy::new(choice, has_proxy, &stored, now), stored, stored_at: now }
    }
}
