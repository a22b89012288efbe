//! The way between client and server, in the hands of a test: a NAT that forgets, a network that is gone, a filter.
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

/// A relay in front of a server.
pub(crate) struct Relay {
    address: SocketAddr,
    way: Arc<Way>,
    _task: JoinSet<()>,
}

struct Way {
    /// How long a datagram takes, in either direction.
    delay: Duration,
    front: UdpSocket,
    server: SocketAddr,
    flows: Mutex<HashMap<SocketAddr, Flow>>,
    gone: AtomicBool,
    down: AtomicU64,
    /// How many bytes may come through towards the client before the network is gone.
    enough: AtomicU64,
    dice: Mutex<Pcg64Mcg>,
    lost: Mutex<f64>,
}

/// What one of the client's ports has become on the server's side.
enum Flow {
    Open {
        outside: Arc<UdpSocket>,
        _back: JoinSet<()>,
    },
    /// Nothing passes any more, in either direction.
    Blocked,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        Self::far_from(server, Duration::ZERO).await
    }

    /// One that takes its time in either direction.
    pub(crate) async fn far_from(server: SocketAddr, delay: Duration) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let (flows, gone) = (Mutex::default(), AtomicBool::new(false));
        let (down, enough) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (dice, lost) = (Mutex::new(Pcg64Mcg::seed_from_u64(1)), Mutex::new(0.0));
        let way = Arc::new(Way { delay, front, server, flows, gone, down, enough, dice, lost });
        let mut task = JoinSet::new();
        task.spawn(forward(way.clone()));
        Self { address, way, _task: task }
    }

    /// Where clients dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that came through towards the client so far.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.way.down.load(Ordering::Relaxed)
    }

    /// From now on the server sees other ports, and what it sends to the old ones is lost.
    pub(crate) fn forget(&self) {
        self.way.flows.lock().unwrap().clear();
    }

    /// Lets nothing through any more to or from the ports that the client has used so far.
    pub(crate) fn block(&self) {
        self.way.flows.lock().unwrap().values_mut().for_each(|flow| *flow = Flow::Blocked);
    }

    /// Loses this share of all datagrams from now on, in both directions.
    pub(crate) fn lose(&self, share: f64) {
        *self.way.lost.lock().unwrap() = share;
    }

    /// Whether the network is there.
    pub(crate) fn connect(&self, connected: bool) {
        self.way.gone.store(!connected, Ordering::Relaxed);
    }

    /// Disconnects the network once so many more bytes have come through towards the client.
    pub(crate) fn disconnect_after(&self, bytes: u64) {
        self.way.enough.store(self.bytes_down() + bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.way.gone.load(Ordering::Relaxed)
    }
}

impl Way {
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
        let lost = *self.lost.lock().unwrap();
        self.gone.load(Ordering::Relaxed) || self.dice.lock().unwrap().random_bool(lost)
    }
}

async fn forward(way: Arc<Way>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = way.front.recv_from(&mut buffer).await else { continue };
        if way.drops() {
            continue;
        }
        if let Some(outside) = outside(&way, client) {
            let datagram = buffer[..length].to_vec();
            way.later(async move { drop(outside.send(&datagram).await) }).await;
        }
    }
}

/// The socket that stands for this port of the client; `None` where it is blocked.
fn outside(way: &Arc<Way>, client: SocketAddr) -> Option<Arc<UdpSocket>> {
    let mut flows = way.flows.lock().unwrap();
    let flow = flows.entry(client).or_insert_with(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(way.server).unwrap();
        socket.set_nonblocking(true).unwrap();
        let outside = Arc::new(UdpSocket::from_std(socket).unwrap());
        let mut back = JoinSet::new();
        back.spawn(backward(way.clone(), outside.clone(), client));
        Flow::Open { outside, _back: back }
    });
    match flow {
        Flow::Open { outside, .. } => Some(outside.clone()),
        Flow::Blocked => None,
    }
}

async fn backward(way: Arc<Way>, outside: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        // An error is a server that is gone for the moment, told by ICMP.
        let Ok(length) = outside.recv(&mut buffer).await else { continue };
        if !way.drops() {
            let down = way.down.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            if down >= way.enough.load(Ordering::Relaxed) {
                way.enough.store(u64::MAX, Ordering::Relaxed);
                way.gone.store(true, Ordering::Relaxed);
            }
            let (datagram, passing) = (buffer[..length].to_vec(), way.clone());
            way.later(async move { drop(passing.front.send_to(&datagram, client).await) }).await;
        }
    }
}
