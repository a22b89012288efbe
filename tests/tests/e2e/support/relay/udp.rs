//! The relay's UDP: one socket to the server for each of the client's ports.
//! Must never read a datagram's content.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::Path;

/// A relay of datagrams.
pub(super) struct UdpRelay {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    path: Arc<Path>,
    client_socket: UdpSocket,
    flows: Mutex<HashMap<SocketAddr, Flow>>,
    /// What waits for the path's delay: one queue, since a task for each datagram would reorder them on a busy machine.
    delayed: mpsc::UnboundedSender<Datagram>,
    rng: Mutex<Pcg64Mcg>,
}

/// A datagram on its way.
struct Datagram {
    due: Instant,
    content: Vec<u8>,
    to: Destination,
}

enum Destination {
    Client(SocketAddr),
    Server(Arc<UdpSocket>),
}

/// The server's side of one client port.
enum Flow {
    Open {
        server_socket: Arc<UdpSocket>,
        _task: JoinSet<()>,
    },
    /// All datagrams of this port are dropped, in both directions.
    Blocked,
}

impl UdpRelay {
    pub(super) fn start(socket: std::net::UdpSocket, path: Arc<Path>) -> Self {
        let rng = Mutex::new(Pcg64Mcg::seed_from_u64(1));
        let (delayed, arrivals) = mpsc::unbounded_channel();
        let shared =
            Arc::new(Shared { path, client_socket: as_async(socket), flows: Mutex::default(), delayed, rng });
        let mut task = JoinSet::new();
        task.spawn(forward_up(shared.clone()));
        task.spawn(deliver(shared.clone(), arrivals));
        Self { shared, _task: task }
    }

    pub(super) fn rebind_ports(&self) {
        self.shared.flows.lock().unwrap().clear();
    }

    pub(super) fn block_flows(&self) {
        self.shared.flows.lock().unwrap().values_mut().for_each(|flow| *flow = Flow::Blocked);
    }
}

impl Shared {
    async fn send_delayed(&self, content: &[u8], to: Destination) {
        if self.path.delay.is_zero() {
            return self.send(content, &to).await;
        }
        let datagram = Datagram { due: Instant::now() + self.path.delay, content: content.to_vec(), to };
        // The receiver ends with the test.
        drop(self.delayed.send(datagram));
    }

    /// Sends at once. A datagram that the system refuses is lost.
    async fn send(&self, content: &[u8], to: &Destination) {
        match to {
            Destination::Client(client) => drop(self.client_socket.send_to(content, client).await),
            Destination::Server(socket) => drop(socket.send(content).await),
        }
    }

    /// Whether to drop the next datagram.
    fn drops_next(&self) -> bool {
        let loss = *self.path.loss.lock().unwrap();
        !*self.path.connected.borrow()
            || !self.path.has_udp.load(Ordering::Relaxed)
            || self.rng.lock().unwrap().random_bool(loss)
    }
}

async fn forward_up(shared: Arc<Shared>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = shared.client_socket.recv_from(&mut buffer).await else { continue };
        if shared.drops_next() {
            continue;
        }
        if let Some(server_socket) = socket_for(&shared, client) {
            shared.path.count(&shared.path.up, length);
            shared.send_delayed(&buffer[..length], Destination::Server(server_socket)).await;
        }
    }
}

/// Sends each delayed datagram when it is due, in their order.
async fn deliver(shared: Arc<Shared>, mut arrivals: mpsc::UnboundedReceiver<Datagram>) {
    while let Some(datagram) = arrivals.recv().await {
        sleep_until(datagram.due).await;
        shared.send(&datagram.content, &datagram.to).await;
    }
}

/// The socket that stands for this port of the client, or `None` if the port is blocked.
fn socket_for(shared: &Arc<Shared>, client: SocketAddr) -> Option<Arc<UdpSocket>> {
    let mut flows = shared.flows.lock().unwrap();
    let flow = flows.entry(client).or_insert_with(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(shared.path.server()).unwrap();
        let server_socket = Arc::new(as_async(socket));
        let mut task = JoinSet::new();
        task.spawn(forward_down(shared.clone(), server_socket.clone(), client));
        Flow::Open { server_socket, _task: task }
    });
    match flow {
        Flow::Open { server_socket, .. } => Some(server_socket.clone()),
        Flow::Blocked => None,
    }
}

async fn forward_down(shared: Arc<Shared>, server_socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        // An ICMP error: the server does not run at the moment.
        let Ok(length) = server_socket.recv(&mut buffer).await else { continue };
        if !shared.drops_next() {
            shared.path.count(&shared.path.down, length);
            shared.send_delayed(&buffer[..length], Destination::Client(client)).await;
        }
    }
}

fn as_async(socket: std::net::UdpSocket) -> UdpSocket {
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}
