//! The sessions of each client, which share its permits and memory: a link that is used on ten machines,
//! or dialed ten times, costs other clients no more than one.

use crate::admission::budget::{Budget, BudgetShare};
use crate::admission::{Admission, ClientAdmission};
use docxy_protocol::congestion::Rate;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{CONNECTIONS_PER_CLIENT_MAX, SEND_WINDOW};
use docxy_protocol::link::ClientName;
use docxy_transport::{Leg, RateLimit, Session};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All clients that have connected. A client's entry stays after its last connection, because its
/// exchanges may still be ending. The operator bounds the number of clients.
#[derive(Debug)]
pub(crate) struct ClientConnections {
    admission: Arc<Admission>,
    send_budget: Arc<Budget>,
    clients: Mutex<HashMap<ClientName, ConnectedClient>>,
}

#[derive(Debug)]
struct ConnectedClient {
    admission: Arc<ClientAdmission>,
    budget: Arc<BudgetShare>,
    /// The operator's limit, for all its sessions.
    rate_limit: RateLimit,
    /// Oldest first.
    sessions: VecDeque<ClientSession>,
}

#[derive(Debug)]
struct ClientSession {
    session: Session,
    /// The limit that its Hello asked for.
    max_rate: Option<Rate>,
    /// That limit, within the operator's.
    rate_limit: RateLimit,
    since: Timestamp,
    /// Bytes per second that it was sent lately.
    rate: Arc<AtomicU64>,
}

/// A session, for reports. As JSON, for the admin page.
#[derive(Debug, Serialize)]
pub(crate) struct SessionReport {
    pub(crate) address: SocketAddr,
    pub(crate) leg: Leg,
    pub(crate) since: Timestamp,
    pub(crate) rtt_ms: u64,
    pub(crate) bytes_per_second: u64,
    /// Bytes with the leg's own headers.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// One session's registration, until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    /// The client's permits, which all its sessions share.
    pub(super) admission: Arc<ClientAdmission>,
    /// Its share of the memory for sending.
    pub(super) budget: Arc<BudgetShare>,
    /// The session's rate.
    pub(super) rate_limit: RateLimit,
    all: Arc<ClientConnections>,
    name: ClientName,
    session: Session,
    rate: Arc<AtomicU64>,
}

impl ClientConnections {
    pub(super) fn new(admission: Arc<Admission>, send_segments: usize) -> Arc<Self> {
        let send_budget = Budget::new(send_segments);
        Arc::new(Self { admission, send_budget, clients: Mutex::default() })
    }

    /// The number of sessions of each client that has any.
    pub(super) fn counts(&self) -> BTreeMap<ClientName, usize> {
        let clients = self.clients.lock();
        let counts = clients.iter().map(|(name, client)| (name.clone(), client.sessions.len()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The sessions of each client that has any.
    pub(crate) fn sessions(&self) -> BTreeMap<ClientName, Vec<SessionReport>> {
        let clients = self.clients.lock();
        let sessions = clients.iter().filter(|(_, client)| !client.sessions.is_empty());
        sessions
            .map(|(name, client)| (name.clone(), client.sessions.iter().map(ClientSession::report).collect()))
            .collect()
    }

    /// Registers a session of an authenticated client. If the client has too many, the oldest are closed.
    ///
    /// `client_max_rate` holds for all sessions of the client from now on. `max_rate` is what this session's Hello asks
    /// for: it holds for the sessions that ask for the same, together, since they may be legs of one program. The link
    /// may also be used by another program, whose sessions have the limit that they ask for, or none.
    pub(super) fn register(
        self: &Arc<Self>,
        name: &ClientName,
        session: &Session,
        client_max_rate: Option<Rate>,
        max_rate: Option<Rate>,
    ) -> Registration {
        let mut clients = self.clients.lock();
        let client = clients.entry(name.clone()).or_insert_with(|| ConnectedClient {
            admission: self.admission.client(),
            budget: self.send_budget.client(),
            rate_limit: RateLimit::default(),
            sessions: VecDeque::new(),
        });
        client.rate_limit.set(client_max_rate);
        let rate_limit = client.rate_limit_of(max_rate);
        let rate = Arc::<AtomicU64>::default();
        let entry = ClientSession {
            session: session.clone(),
            max_rate,
            rate_limit: rate_limit.clone(),
            since: Timestamp::now(),
            rate: Arc::clone(&rate),
        };
        client.sessions.push_back(entry);
        while client.sessions.len() > CONNECTIONS_PER_CLIENT_MAX
            && let Some(oldest) = client.sessions.pop_front()
        {
            oldest.session.close(CloseCode::TooManyConnections);
        }
        client.share_send_window();
        Registration {
            admission: Arc::clone(&client.admission),
            budget: client.budget.session(),
            rate_limit,
            all: Arc::clone(self),
            name: name.clone(),
            session: session.clone(),
            rate,
        }
    }
}

impl Registration {
    /// The session was sent so many bytes per second lately.
    pub(super) fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }
}

impl ClientSession {
    fn report(&self) -> SessionReport {
        let path = self.session.path();
        SessionReport {
            address: self.session.remote_address(),
            leg: self.session.leg(),
            since: self.since,
            rtt_ms: u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX),
            bytes_per_second: self.rate.load(Ordering::Relaxed),
            sent: path.bytes_sent,
            received: path.bytes_received,
        }
    }
}

impl ConnectedClient {
    /// The limit of the sessions that ask for this rate.
    fn rate_limit_of(&self, max_rate: Option<Rate>) -> RateLimit {
        let same = self.sessions.iter().find(|session| session.max_rate == max_rate);
        same.map(|session| session.rate_limit.clone()).unwrap_or_else(|| {
            let limit = RateLimit::default();
            limit.set(max_rate);
            limit.within(self.rate_limit.clone())
        })
    }

    /// Divides the memory that one session may use among all sessions of the client. A second one
    /// does not count: a client that has changed its network leaves it behind.
    fn share_send_window(&self) {
        let shares = (self.sessions.len() as u64).saturating_sub(1).max(1);
        for ClientSession { session, .. } in &self.sessions {
            session.set_send_window(SEND_WINDOW / shares);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut clients = self.all.clients.lock();
        if let Some(client) = clients.get_mut(&self.name) {
            client.sessions.retain(|entry| !entry.session.is_same(&self.session));
            client.share_send_window();
        }
    }
}
