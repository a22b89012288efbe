//! A relay between client and server by which a test changes the path: NAT rebinding, a lost network, blocked flows,
//! loss, delay. It relays UDP and TCP at the same port, so that it is on the path of each leg.
//! Must never read what it relays.

mod tcp;
mod udp;

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use docxy_tests::docxy::Server;
use tokio::{sync::watch, task::block_in_place};

use self::{tcp::TcpRelay, udp::UdpRelay};

/// The arguments of a client in a test of what QUIC alone does, whatever the variant of the run.
pub(crate) const QUIC: [&str; 2] = ["--leg", "quic"];

/// How often a port that is free for both is looked for.
const BIND_ATTEMPTS: usize = 100;

/// A relay in front of one server.
pub(crate) struct Relay {
    address: SocketAddr,
    path: Arc<Path>,
    udp: UdpRelay,
    tcp: TcpRelay,
}

/// The state of the path, for both protocols.
struct Path {
    /// The one-way delay.
    delay: Duration,
    server: Mutex<SocketAddr>,
    connected: watch::Sender<bool>,
    /// Whether UDP passes.
    has_udp: AtomicBool,
    /// Whether new TCP connections are accepted.
    has_tcp: AtomicBool,
    up: Direction,
    down: Direction,
    loss: Mutex<f64>,
}

/// What passes in one direction.
struct Direction {
    bytes: AtomicU64,
    /// The network disconnects itself once this many bytes have passed.
    disconnect_at: AtomicU64,
}

impl Relay {
    /// A relay with this one-way delay.
    pub(crate) fn with_delay(server: SocketAddr, delay: Duration) -> Self {
        let (tcp, udp) = bind();
        let path = Arc::new(Path {
            delay,
            server: Mutex::new(server),
            connected: watch::Sender::new(true),
            has_udp: AtomicBool::new(true),
            has_tcp: AtomicBool::new(true),
            up: Direction::new(),
            down: Direction::new(),
            loss: Mutex::new(0.0),
        });
        let address = udp.local_addr().unwrap();
        let (udp, tcp) = (UdpRelay::start(udp, path.clone()), TcpRelay::start(tcp, path.clone()));
        Self { address, path, udp, tcp }
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

    /// Sends everything to another server from now on, as a load balancer does.
    pub(crate) fn send_to(&self, server: SocketAddr) {
        *self.path.server.lock().unwrap() = server;
        self.rebind_ports();
    }

    /// Bytes that have passed towards the client.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.path.down.bytes.load(Ordering::Relaxed)
    }

    /// Rebinds all ports, as a NAT does that lost its state: the server sees new UDP ports, and datagrams to the old
    /// ones are lost. TCP connections are reset, as the server knows none from the new port.
    pub(crate) fn rebind_ports(&self) {
        self.udp.rebind_ports();
        self.tcp.reset_connections();
    }

    /// Drops all that comes from and goes to the ports that the client has used so far.
    pub(crate) fn block_flows(&self) {
        self.udp.block_flows();
        self.tcp.block_connections();
    }

    /// Drops this share of all datagrams from now on, in both directions. TCP would send again what is lost, so its
    /// streams pass.
    pub(crate) fn set_loss(&self, share: f64) {
        *self.path.loss.lock().unwrap() = share;
    }

    /// Lets UDP pass, or drops all of it.
    pub(crate) fn set_udp(&self, passes: bool) {
        self.path.has_udp.store(passes, Ordering::Relaxed);
    }

    /// Lets new TCP connections pass, or resets them.
    pub(crate) fn set_tcp(&self, passes: bool) {
        self.path.has_tcp.store(passes, Ordering::Relaxed);
    }

    /// Connects or disconnects the network.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.path.connected.send_replace(connected);
    }

    /// Disconnects the network once this many more bytes have passed towards the client.
    pub(crate) fn disconnect_after(&self, bytes: u64) {
        self.path.down.disconnect_after(bytes);
    }

    /// The same towards the server.
    pub(crate) fn disconnect_after_sent(&self, bytes: u64) {
        self.path.up.disconnect_after(bytes);
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        !*self.path.connected.borrow()
    }
}

impl Path {
    fn server(&self) -> SocketAddr {
        *self.server.lock().unwrap()
    }

    /// Counts bytes that pass in a direction.
    fn count(&self, direction: &Direction, length: usize) {
        let passed = direction.bytes.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
        if passed >= direction.disconnect_at.load(Ordering::Relaxed) {
            direction.disconnect_at.store(u64::MAX, Ordering::Relaxed);
            self.connected.send_replace(false);
        }
    }
}

impl Direction {
    fn new() -> Self {
        Self { bytes: AtomicU64::new(0), disconnect_at: AtomicU64::new(u64::MAX) }
    }

    fn disconnect_after(&self, bytes: u64) {
        self.disconnect_at.store(self.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

/// Sockets of both protocols at one port.
fn bind() -> (TcpListener, UdpSocket) {
    let attempt = || {
        let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
        let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
        Some((tcp, udp))
    };
    (0..BIND_ATTEMPTS).find_map(|_| attempt()).expect("a port that is free for TCP and UDP")
}
