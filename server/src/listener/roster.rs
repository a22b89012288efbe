//! The clients that are connected, and what the connections of each share: a link that is used
//! in ten places, or dialled ten times, costs the others no more than one.

use crate::places::{ClientPlaces, Places};
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{CONNECTIONS_PER_CLIENT_MAX, SEND_WINDOW};
use docxy_protocol::link::ClientName;
use quinn::{Connection, VarInt};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All clients that have been here. One that has left is kept: there are only so many, and what it
/// began may still be ending.
#[derive(Debug)]
pub(super) struct Roster {
    places: Arc<Places>,
    clients: Mutex<HashMap<ClientName, Client>>,
}

#[derive(Debug)]
struct Client {
    places: Arc<ClientPlaces>,
    /// Oldest first.
    connections: VecDeque<Connection>,
}

/// One connection's entry, until it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    /// The client's.
    pub(super) places: Arc<ClientPlaces>,
    roster: Arc<Roster>,
    name: ClientName,
    connection: usize,
}

impl Roster {
    pub(super) fn new(places: Arc<Places>) -> Arc<Self> {
        Arc::new(Self { places, clients: Mutex::default() })
    }

    /// Enters a connection of a client that was authenticated. Its oldest ones make room.
    pub(super) fn enter(self: &Arc<Self>, name: &ClientName, connection: &Connection) -> Entry {
        let mut clients = self.lock();
        let client = clients
            .entry(name.clone())
            .or_insert_with(|| Client { places: self.places.client(), connections: VecDeque::new() });
        client.connections.push_back(connection.clone());
        while client.connections.len() > CONNECTIONS_PER_CLIENT_MAX
            && let Some(oldest) = client.connections.pop_front()
        {
            let code = CloseCode::TooManyConnections;
            oldest.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
        }
        client.share_memory();
        let places = Arc::clone(&client.places);
        Entry { places, roster: Arc::clone(self), name: name.clone(), connection: connection.stable_id() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientName, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// What one connection may hold in memory is all that a client may. A second one is let off:
    /// it is what a client on the move has left behind.
    fn share_memory(&self) {
        let sharing = (self.connections.len() as u64).saturating_sub(1).max(1);
        for connection in &self.connections {
            connection.set_send_window(SEND_WINDOW / sharing);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut clients = self.roster.lock();
        if let Some(client) = clients.get_mut(&self.name) {
            client.connections.retain(|connection| connection.stable_id() != self.connection);
            client.share_memory();
        }
    }
}
