//! One supervisor for each server: they are started and ended here as the configuration says.
//!
//! Must never end the supervisor of a link that has not changed.

mod backoff;
mod better_leg;
mod control_stream;
mod failure_log;
mod legs;
mod race;
mod server_supervisor;
mod successor;

pub(super) use control_stream::read_welcome;
pub(super) use race::race;

use super::address::AddressBook;
use super::config::{JoinedLink, TunnelConfig};
use super::dial::DialOptions;
use super::dial::permits::ConnectionPermits;
use super::network_memory::NetworkMemory;
use super::reason::{LineCause, LineReason};
use super::segment_budget::ClientUsage;
use super::server::{Server, ServerState, Servers};
use super::session::Session;
use super::status::TunnelStatus;
use crate::status::counters::TunnelCounters;
use docxy_host::trouble::Trouble;
use docxy_protocol::control::CloseCode;
use docxy_transport::RateLimit;
use futures_util::future::join_all;
use legs::{Legs, SharedMemory};
use parking_lot::Mutex;
use server_supervisor::ServerSupervisor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::SystemTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The fault of requests between the close of a connection with the old configuration and the first one with
/// the new.
const CONFIG_CHANGED: &str = "the links, congestion, max_rate, leg or proxy were changed";

/// Runs until `stop`.
pub(super) async fn supervise(
    mut config: watch::Receiver<TunnelConfig>,
    servers: Servers,
    counters: TunnelCounters,
    stop: CancellationToken,
) {
    let cache = config.borrow().cache.clone();
    let book = AddressBook::open(cache.as_deref());
    let memory = Arc::new(Mutex::new(NetworkMemory::open(cache.as_deref())));
    let mut supervisors = Supervisors {
        servers,
        counters,
        memory,
        usage: Arc::default(),
        up: RateLimit::default(),
        book,
        all: Vec::new(),
        next_id: 0,
    };
    loop {
        let current = config.borrow_and_update().clone();
        supervisors.apply(current);
        tokio::select! {
            () = wait_for_change(&mut config) => tracing::info!(reason = CONFIG_CHANGED, "dialing again"),
            () = stop.cancelled() => break,
        }
    }
    // First the supervisors, which would dial again.
    supervisors.all.clear();
    let states = supervisors.servers.states();
    join_all(states.iter().filter_map(ServerState::session).map(Session::close)).await;
}

/// Resolves when the configuration changes.
async fn wait_for_change(config: &mut watch::Receiver<TunnelConfig>) {
    if config.changed().await.is_err() {
        // The sender is gone, so no change can follow.
        std::future::pending().await
    }
}

/// All supervisors.
struct Supervisors {
    servers: Servers,
    counters: TunnelCounters,
    memory: SharedMemory,
    /// What the bodies of all servers use.
    usage: Arc<ClientUsage>,
    /// The rate at which all sessions together may send.
    up: RateLimit,
    book: AddressBook,
    all: Vec<Supervised>,
    next_id: u64,
}

/// A server and its supervisor.
struct Supervised {
    joined: JoinedLink,
    /// The configuration at its start, without the links.
    options: TunnelConfig,
    server: Arc<Server>,
    /// `None` before its start.
    task: Option<AbortOnDropHandle<()>>,
}

impl Supervisors {
    /// Starts the supervisors of new links, and ends those of links that are gone.
    fn apply(&mut self, config: TunnelConfig) {
        let (links, options) = (config.links, TunnelConfig { links: Vec::new(), ..config });
        let mut before = std::mem::take(&mut self.all);
        for joined in links {
            let is_same = |known: &Supervised| known.joined == joined && known.options == options;
            let known = before.iter().position(is_same).map(|position| before.remove(position));
            let supervised = known.unwrap_or_else(|| self.add(joined, options.clone()));
            self.all.push(supervised);
        }
        let is_ended = |state: &ServerState| before.iter().any(|one| one.server.id == state.server.id);
        let ended: Vec<_> = self.servers.states().into_iter().filter(is_ended).collect();
        drop(before);
        // Requests that wait for a link that has changed wait for the new one, too.
        let was_up =
            |state: &ServerState| matches!(state.status, TunnelStatus::Up { .. } | TunnelStatus::Down { .. });
        let lost_since = ended.iter().any(was_up).then(SystemTime::now);
        let initial = match lost_since {
            Some(since) => TunnelStatus::Down {
                since,
                reason: LineReason::new(LineCause::SettingsChanged, CONFIG_CHANGED),
            },
            None => TunnelStatus::Connecting { reason: None },
        };
        self.servers.replace(self.all.iter().map(|one| Arc::clone(&one.server)), &initial);
        self.up.set(options.max_rate.up);
        let leg = options.leg;
        for one in self.all.iter_mut().filter(|one| one.task.is_none()) {
            let link = &one.joined.link;
            let options = DialOptions {
                congestion: options.congestion,
                max_down: options.max_rate.down,
                up: self.up.clone(),
                proxy: options.proxy.clone(),
                book: self.book.clone(),
                permits: ConnectionPermits::new(options.runtime.as_deref(), link),
                joins: true,
            };
            let (proxy, memory) = (options.proxy_beside(link), Arc::clone(&self.memory));
            let supervisor = ServerSupervisor {
                link: link.clone(),
                legs: Legs::new(leg, proxy, link.address(), memory),
                options,
                server: Arc::clone(&one.server),
                servers: self.servers.clone(),
                counters: Arc::clone(&self.counters),
                attempt: AtomicUsize::new(0),
                lost_since,
                public_has_moved: AtomicBool::new(false),
                last_way: None,
                udp: Trouble::default(),
            };
            one.task = Some(AbortOnDropHandle::new(tokio::spawn(supervisor.run())));
        }
        for session in ended.iter().filter_map(ServerState::session) {
            self.counters.disconnected(CONFIG_CHANGED);
            session.transport().close(CloseCode::Done);
        }
    }

    fn add(&mut self, joined: JoinedLink, options: TunnelConfig) -> Supervised {
        self.next_id += 1;
        let usage = Arc::clone(&self.usage);
        let server = Server::new(self.next_id, joined.link.address(), joined.trust, usage);
        Supervised { joined, options, server, task: None }
    }
}
