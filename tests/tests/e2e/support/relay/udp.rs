//! The relay's UDP: one socket to the server for each of the client's ports.
//! Must never read a datagram's content.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::{net::UdpSocket, task::JoinSet, time::Instant};

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
    rng: Mutex<Pcg64Mcg>,
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
        let shared = Arc::new(Shared { path, client_socket: as_async(socket), flows: Mutex::default(), rng });
        let mut task = JoinSet::new();
        task.spawn(forward_up(shared.clone()));
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
    async fn send_delayed(&self, send: impl Future<Output = ()> + Send + 'static) {
        if self.path.delay.is_zero() {
            return send.await;
        }
        let at = Instant::now() + self.path.delay;
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            send.await;
        });
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
            let datagram = buffer[..length].to_vec();
            shared.send_delayed(async move { drop(server_socket.send(&datagram).await) }).await;
        }
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
            let (datagram, sender) = (buffer[..length].to_vec(), shared.clone());
            shared
                .send_delayed(async move { drop(sender.client_socket.send_to(&datagram, client).await) })
                .await;
        }
    }
}

fn as_async(socket: std::net::UdpSocket) -> UdpSocket {
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}
