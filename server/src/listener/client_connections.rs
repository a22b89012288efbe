//! The connections of each client, which share its permits and memory: a link that is used on ten machines,
//! or dialled ten times, costs other clients no more than one.

use crate::admission::{Admission, ClientAdmission};
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{CONNECTIONS_PER_CLIENT_MAX, SEND_WINDOW};
use docxy_protocol::link::ClientName;
use quinn::{Connection, VarInt};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All clients that have connected. A client's entry stays after its last connection, because its
/// exchanges may still be ending. The operator bounds the number of clients.
#[derive(Debug)]
pub(super) struct ClientConnections {
    admission: Arc<Admission>,
    clients: Mutex<HashMap<ClientName, ConnectedClient>>,
}

#[derive(Debug)]
struct ConnectedClient {
    admission: Arc<ClientAdmission>,
    /// Oldest first.
    connections: VecDeque<Connection>,
}

/// One connection's registration, until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    /// The client's permits, which all its connections share.
    pub(super) admission: Arc<ClientAdmission>,
    all: Arc<ClientConnections>,
    name: ClientName,
    connection: usize,
}

impl ClientConnections {
    pub(super) fn new(admission: Arc<Admission>) -> Arc<Self> {
        Arc::new(Self { admission, clients: Mutex::default() })
    }

    /// Registers a connection of an authenticated client. If the client has too many, the oldest are closed.
    pub(super) fn register(self: &Arc<Self>, name: &ClientName, connection: &Connection) -> Registration {
        let mut clients = self.lock();
        let client = clients.entry(name.clone()).or_insert_with(|| ConnectedClient {
            admission: self.admission.client(),
            connections: VecDeque::new(),
        });
        client.connections.push_back(connection.clone());
        while client.connections.len() > CONNECTIONS_PER_CLIENT_MAX
            && let Some(oldest) = client.connections.pop_front()
        {
            let code = CloseCode::TooManyConnections;
            oldest.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
        }
        client.share_send_window();
        let admission = Arc::clone(&client.admission);
        let connection = connection.stable_id();
        Registration { admission, all: Arc::clone(self), name: name.clone(), connection }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientName, ConnectedClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectedClient {
    /// Divides the memory that one connection may use among all connections of the client. A second one
    /// doesn't count: a client that has changed its network leaves it behind.
    fn share_send_window(&self) {
        let shares = (self.connections.len() as u64).saturating_sub(1).max(1);
        for connection in &self.connections {
            connection.set_send_window(SEND_WINDOW / shares);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut clients = self.all.lock();
        if let Some(client) = clients.get_mut(&self.name) {
            client.connections.retain(|connection| connection.stable_id() != self.connection);
            client.share_send_window();
        }
    }
}
