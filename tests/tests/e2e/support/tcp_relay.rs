//! A TCP relay between a client and its server, whose connections a test counts, slows down and cuts.
//! Must never change a byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use docxy_tests::docxy::Server;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet, block_in_place},
};

/// A relay until it is dropped.
pub(crate) struct TcpRelay {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Relayed>>>,
    most_open: Arc<AtomicUsize>,
    _listener: JoinSet<()>,
}

/// One connection, in the order in which they were opened.
#[derive(Clone)]
struct Relayed {
    to_client: Arc<AtomicU64>,
    is_slow: Arc<AtomicBool>,
    task: AbortHandle,
}

/// How long a slow connection waits after each read: then it has 5 Mbit/s.
const SLOW_INTERVAL: Duration = Duration::from_millis(100);

impl TcpRelay {
    /// A relay to this server.
    pub(crate) async fn new(server: SocketAddr) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), server)
    }

    /// A relay at this listener.
    pub(crate) fn on(listener: TcpListener, server: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<Relayed>>>::default();
        let (mut tasks, all) = (JoinSet::new(), Arc::clone(&connections));
        let most_open = Arc::<AtomicUsize>::default();
        let most = Arc::clone(&most_open);
        tasks.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let to_client = Arc::<AtomicU64>::default();
                let is_slow = Arc::<AtomicBool>::default();
                let task = relays.spawn(relay(client, server, Arc::clone(&to_client), Arc::clone(&is_slow)));
                let mut all = all.lock().unwrap();
                all.push(Relayed { to_client, is_slow, task });
                most.fetch_max(open(&all), Ordering::Relaxed);
            }
        });
        Self { address, connections, most_open, _listener: tasks }
    }

    /// Invites a client, whose link names the relay.
    pub(crate) fn link_to(&self, server: &Server, name: &str) -> String {
        let link = block_in_place(|| server.invite(name)).unwrap();
        link.replace(&server.address().to_string(), &self.address.to_string())
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        open(&self.connections.lock().unwrap())
    }

    /// Connections that were open at the same time, at most.
    pub(crate) fn most_open(&self) -> usize {
        self.most_open.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    pub(crate) fn opened(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Bytes that the client got over one connection.
    pub(crate) fn to_client(&self, connection: usize) -> u64 {
        self.connections.lock().unwrap()[connection].to_client.load(Ordering::Relaxed)
    }

    /// Slows one connection down.
    pub(crate) fn slow_down(&self, connection: usize) {
        self.connections.lock().unwrap()[connection].is_slow.store(true, Ordering::Relaxed);
    }

    /// Cuts one connection.
    pub(crate) fn cut(&self, connection: usize) {
        self.connections.lock().unwrap()[connection].task.abort();
    }
}

fn open(connections: &[Relayed]) -> usize {
    connections.iter().filter(|relayed| !relayed.task.is_finished()).count()
}

async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    to_client: Arc<AtomicU64>,
    is_slow: Arc<AtomicBool>,
) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.split(), server.split());
    let up = async {
        tokio::io::copy(&mut client_in, &mut server_out).await.ok();
        server_out.shutdown().await.ok();
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = server_in.read(&mut buffer).await {
            if client_out.write_all(&buffer[..count]).await.is_err() {
                break;
            }
            to_client.fetch_add(count as u64, Ordering::Relaxed);
            if is_slow.load(Ordering::Relaxed) {
                tokio::time::sleep(SLOW_INTERVAL).await;
            }
        }
        client_out.shutdown().await.ok();
    };
    tokio::join!(up, down);
}
