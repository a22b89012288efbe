//! The path between client and server, in the hands of a test: a NAT that forgets, a network that is disconnected, a filter.
//! Passes datagrams on and looks into none.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::{net::UdpSocket, task::JoinSet, time::Instant};

/// A relay in client_socket of a server.
pub(crate) struct Relay {
    address: SocketAddr,
    path: Arc<Path>,
    _task: JoinSet<()>,
}

struct Path {
    /// How long a datagram takes, in either direction.
    delay: Duration,
    client_socket: UdpSocket,
    server: SocketAddr,
    flows: Mutex<HashMap<SocketAddr, Flow>>,
    disconnected: AtomicBool,
    bytes_down: AtomicU64,
    /// How many bytes may come through towards the client before the network is disconnected.
    disconnect_at: AtomicU64,
    rng: Mutex<Pcg64Mcg>,
    loss: Mutex<f64>,
}

/// What one of the client's ports has become on the server's side.
enum Flow {
    Open {
        server_socket: Arc<UdpSocket>,
        _task: JoinSet<()>,
    },
    /// Nothing passes any more, in either direction.
    Blocked,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        Self::with_delay(server, Duration::ZERO).await
    }

    /// One that takes its time in either direction.
    pub(crate) async fn with_delay(server: SocketAddr, delay: Duration) -> Self {
        let client_socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = client_socket.local_addr().unwrap();
        let (flows, disconnected) = (Mutex::default(), AtomicBool::new(false));
        let (bytes_down, disconnect_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (rng, loss) = (Mutex::new(Pcg64Mcg::seed_from_u64(1)), Mutex::new(0.0));
        let path = Arc::new(Path {
            delay,
            client_socket,
            server,
            flows,
            disconnected,
            bytes_down,
            disconnect_at,
            rng,
            loss,
        });
        let mut task = JoinSet::new();
        task.spawn(forward_up(path.clone()));
        Self { address, path, _task: task }
    }

    /// Where clients dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that came through towards the client so far.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.path.bytes_down.load(Ordering::Relaxed)
    }

    /// From now on the server sees other ports, and what it sends to the old ones is loss.
    pub(crate) fn rebind_ports(&self) {
        self.path.flows.lock().unwrap().clear();
    }

    /// Lets nothing through any more to or from the ports that the client has used so far.
    pub(crate) fn block_flows(&self) {
        self.path.flows.lock().unwrap().values_mut().for_each(|flow| *flow = Flow::Blocked);
    }

    /// Loses this share of all datagrams from now on, in both directions.
    pub(crate) fn set_loss(&self, share: f64) {
        *self.path.loss.lock().unwrap() = share;
    }

    /// Whether the network is there.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.path.disconnected.store(!connected, Ordering::Relaxed);
    }

    /// Disconnects the network once so many more bytes have come through towards the client.
    pub(crate) fn disconnect_after(&self, bytes: u64) {
        self.path.disconnect_at.store(self.bytes_down() + bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.path.disconnected.load(Ordering::Relaxed)
    }
}

impl Path {
    async fn later(&self, send: impl Future<Output = ()> + Send + 'static) {
        if self.delay.is_zero() {
            return send.await;
        }
        let at = Instant::now() + self.delay;
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            send.await;
        });
    }

    /// Whether a datagram doesn't get through.
    fn drops(&self) -> bool {
        let loss = *self.loss.lock().unwrap();
        self.disconnected.load(Ordering::Relaxed) || self.rng.lock().unwrap().random_bool(loss)
    }
}

async fn forward_up(path: Arc<Path>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = path.client_socket.recv_from(&mut buffer).await else { continue };
        if path.drops() {
            continue;
        }
        if let Some(server_socket) = socket_for(&path, client) {
            let datagram = buffer[..length].to_vec();
            path.later(async move { drop(server_socket.send(&datagram).await) }).await;
        }
    }
}

/// The socket that stands for this port of the client; `None` where it is blocked.
fn socket_for(path: &Arc<Path>, client: SocketAddr) -> Option<Arc<UdpSocket>> {
    let mut flows = path.flows.lock().unwrap();
    let flow = flows.entry(client).or_insert_with(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(path.server).unwrap();
        socket.set_nonblocking(true).unwrap();
        let server_socket = Arc::new(UdpSocket::from_std(socket).unwrap());
        let mut task = JoinSet::new();
        task.spawn(forward_down(path.clone(), server_socket.clone(), client));
        Flow::Open { server_socket, _task: task }
    });
    match flow {
        Flow::Open { server_socket, .. } => Some(server_socket.clone()),
        Flow::Blocked => None,
    }
}

async fn forward_down(path: Arc<Path>, server_socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        // An error is a server that is disconnected for the moment, told by ICMP.
        let Ok(length) = server_socket.recv(&mut buffer).await else { continue };
        if !path.drops() {
            let down = path.bytes_down.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            if down >= path.disconnect_at.load(Ordering::Relaxed) {
                path.disconnect_at.store(u64::MAX, Ordering::Relaxed);
                path.disconnected.store(true, Ordering::Relaxed);
            }
            let (datagram, passing) = (buffer[..length].to_vec(), path.clone());
            path.later(async move { drop(passing.client_socket.send_to(&datagram, client).await) }).await;
        }
    }
}
