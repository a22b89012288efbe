//! A UDP relay between client and server by which a test changes the path: NAT rebinding, a lost network, blocked
//! flows, loss, delay.
//! Must never read a datagram's content.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use docxy_tests::docxy::Server;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::{
    net::UdpSocket,
    task::{JoinSet, block_in_place},
    time::Instant,
};

/// The arguments of a client behind the relay, whatever the variant of the run: it carries UDP alone.
pub(crate) const QUIC: [&str; 2] = ["--leg", "quic"];

/// A UDP relay in front of one server.
pub(crate) struct UdpRelay {
    address: SocketAddr,
    path: Arc<Path>,
    _task: JoinSet<()>,
}

struct Path {
    /// The one-way delay.
    delay: Duration,
    client_socket: UdpSocket,
    server: Mutex<SocketAddr>,
    flows: Mutex<HashMap<SocketAddr, Flow>>,
    disconnected: AtomicBool,
    bytes_down: AtomicU64,
    /// The network disconnects itself once this many bytes have passed towards the client.
    disconnect_at: AtomicU64,
    rng: Mutex<Pcg64Mcg>,
    loss: Mutex<f64>,
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
    /// A relay with this one-way delay.
    pub(crate) async fn with_delay(server: SocketAddr, delay: Duration) -> Self {
        let client_socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = client_socket.local_addr().unwrap();
        let (flows, disconnected) = (Mutex::default(), AtomicBool::new(false));
        let (bytes_down, disconnect_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (rng, loss) = (Mutex::new(Pcg64Mcg::seed_from_u64(1)), Mutex::new(0.0));
        let path = Arc::new(Path {
            delay,
            client_socket,
            server: Mutex::new(server),
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

    /// A new client's link to `server` through this relay.
    pub(crate) fn link_to(&self, server: &Server, client: &str) -> String {
        let invite = ["invite", client, "--public", &self.address.to_string()];
        block_in_place(|| server.command(&invite)).unwrap().trim().to_owned()
    }

    /// The address that the client dials.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends all datagrams to another server from now on, as a load balancer does.
    pub(crate) fn send_to(&self, server: SocketAddr) {
        *self.path.server.lock().unwrap() = server;
        self.rebind_ports();
    }

    /// Bytes that have passed towards the client.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.path.bytes_down.load(Ordering::Relaxed)
    }

    /// Rebinds all ports, as a NAT does that lost its state: the server sees new ports, and datagrams to the old
    /// ones are lost.
    pub(crate) fn rebind_ports(&self) {
        self.path.flows.lock().unwrap().clear();
    }

    /// Drops all datagrams to and from the ports that the client has used so far.
    pub(crate) fn block_flows(&self) {
        self.path.flows.lock().unwrap().values_mut().for_each(|flow| *flow = Flow::Blocked);
    }

    /// Drops this share of all datagrams from now on, in both directions.
    pub(crate) fn set_loss(&self, share: f64) {
        *self.path.loss.lock().unwrap() = share;
    }

    /// Connects or disconnects the network.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.path.disconnected.store(!connected, Ordering::Relaxed);
    }

    /// Disconnects the network once this many more bytes have passed towards the client.
    pub(crate) fn disconnect_after(&self, bytes: u64) {
        self.path.disconnect_at.store(self.bytes_down() + bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.path.disconnected.load(Ordering::Relaxed)
    }
}

impl Path {
    async fn send_delayed(&self, send: impl Future<Output = ()> + Send + 'static) {
        if self.delay.is_zero() {
            return send.await;
        }
        let at = Instant::now() + self.delay;
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            send.await;
        });
    }

    /// Whether to drop the next datagram.
    fn drops_next(&self) -> bool {
        let loss = *self.loss.lock().unwrap();
        self.disconnected.load(Ordering::Relaxed) || self.rng.lock().unwrap().random_bool(loss)
    }
}

async fn forward_up(path: Arc<Path>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = path.client_socket.recv_from(&mut buffer).await else { continue };
        if path.drops_next() {
            continue;
        }
        if let Some(server_socket) = socket_for(&path, client) {
            let datagram = buffer[..length].to_vec();
            path.send_delayed(async move { drop(server_socket.send(&datagram).await) }).await;
        }
    }
}

/// The socket that stands for this port of the client, or `None` if the port is blocked.
fn socket_for(path: &Arc<Path>, client: SocketAddr) -> Option<Arc<UdpSocket>> {
    let mut flows = path.flows.lock().unwrap();
    let flow = flows.entry(client).or_insert_with(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(*path.server.lock().unwrap()).unwrap();
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
        // An ICMP error: the server does not run at the moment.
        let Ok(length) = server_socket.recv(&mut buffer).await else { continue };
        if !path.drops_next() {
            let down = path.bytes_down.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            if down >= path.disconnect_at.load(Ordering::Relaxed) {
                path.disconnect_at.store(u64::MAX, Ordering::Relaxed);
                path.disconnected.store(true, Ordering::Relaxed);
            }
            let (datagram, sender) = (buffer[..length].to_vec(), path.clone());
            path.send_delayed(async move { drop(sender.client_socket.send_to(&datagram, client).await) })
                .await;
        }
    }
}
