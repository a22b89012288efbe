//! The sessions of each client, which share its permits and memory: a link that is used on ten machines,
//! or dialed ten times, costs other clients no more than one.

use crate::admission::{Admission, ClientAdmission};
use crate::budget::{Budget, ClientBudget};
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{CONNECTIONS_PER_CLIENT_MAX, SEND_BUDGET_SEGMENTS, SEND_WINDOW};
use docxy_protocol::link::ClientName;
use docxy_transport::{RateLimit, Session};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// All clients that have connected. A client's entry stays after its last connection, because its
/// exchanges may still be ending. The operator bounds the number of clients.
#[derive(Debug)]
pub(super) struct ClientConnections {
    admission: Arc<Admission>,
    send_budget: Arc<Budget>,
    clients: Mutex<HashMap<ClientName, ConnectedClient>>,
}

#[derive(Debug)]
struct ConnectedClient {
    admission: Arc<ClientAdmission>,
    budget: Arc<ClientBudget>,
    rate_limit: RateLimit,
    /// Oldest first.
    sessions: VecDeque<Session>,
}

/// One session's registration, until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    /// The client's permits, which all its sessions share.
    pub(super) admission: Arc<ClientAdmission>,
    /// The client's share of the memory for sending.
    pub(super) budget: Arc<ClientBudget>,
    /// The rate of all its sessions.
    pub(super) rate_limit: RateLimit,
    all: Arc<ClientConnections>,
    name: ClientName,
    session: Session,
}

impl ClientConnections {
    pub(super) fn new(admission: Arc<Admission>) -> Arc<Self> {
        let send_budget = Budget::new(SEND_BUDGET_SEGMENTS);
        Arc::new(Self { admission, send_budget, clients: Mutex::default() })
    }

    /// Registers a session of an authenticated client. If the client has too many, the oldest are closed.
    pub(super) fn register(self: &Arc<Self>, name: &ClientName, session: &Session) -> Registration {
        let mut clients = self.clients.lock();
        let client = clients.entry(name.clone()).or_insert_with(|| ConnectedClient {
            admission: self.admission.client(),
            budget: self.send_budget.client(),
            rate_limit: RateLimit::default(),
            sessions: VecDeque::new(),
        });
        client.sessions.push_back(session.clone());
        while client.sessions.len() > CONNECTIONS_PER_CLIENT_MAX
            && let Some(oldest) = client.sessions.pop_front()
        {
            oldest.close(CloseCode::TooManyConnections);
        }
        client.share_send_window();
        Registration {
            admission: Arc::clone(&client.admission),
            budget: Arc::clone(&client.budget),
            rate_limit: client.rate_limit.clone(),
            all: Arc::clone(self),
            name: name.clone(),
            session: session.clone(),
        }
    }
}

impl ConnectedClient {
    /// Divides the memory that one session may use among all sessions of the client. A second one
    /// does not count: a client that has changed its network leaves it behind.
    fn share_send_window(&self) {
        let shares = (self.sessions.len() as u64).saturating_sub(1).max(1);
        for session in &self.sessions {
            session.set_send_window(SEND_WINDOW / shares);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut clients = self.all.clients.lock();
        if let Some(client) = clients.get_mut(&self.name) {
            client.sessions.retain(|session| !session.is_same(&self.session));
            client.share_send_window();
        }
    }
}
