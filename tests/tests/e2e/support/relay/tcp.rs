//! The relay's TCP: one connection to the server for each of the client's.
//! Must never end a connection that an end has not ended, unless the path does: a blocked one stays open in silence.

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::Path;

/// What one read takes. A delayed path holds many of them.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks on the way in one direction: more than the window of a long path.
const CHUNKS_MAX: usize = 1024;

/// A relay of connections.
pub(super) struct TcpRelay {
    connections: Arc<Mutex<Vec<watch::Sender<State>>>>,
    _task: JoinSet<()>,
}

/// What the path does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Blocked,
    Reset,
}

impl TcpRelay {
    pub(super) fn start(listener: std::net::TcpListener, path: Arc<Path>) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, path, connections.clone()));
        Self { connections, _task: task }
    }

    pub(super) fn reset_connections(&self) {
        self.set_all(State::Reset);
    }

    pub(super) fn block_connections(&self) {
        self.set_all(State::Blocked);
    }

    fn set_all(&self, state: State) {
        for connection in self.connections.lock().unwrap().iter() {
            // What is blocked stays blocked.
            connection.send_if_modified(|now| *now == State::Open && std::mem::replace(now, state) != state);
        }
    }
}

async fn accept(listener: TcpListener, path: Arc<Path>, connections: Arc<Mutex<Vec<watch::Sender<State>>>>) {
    let mut relayed = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let (sender, state) = watch::channel(State::Open);
        connections.lock().unwrap().push(sender);
        relayed.spawn(relay(client, path.clone(), state));
    }
}

/// Relays one connection to its end.
async fn relay(mut client: TcpStream, path: Arc<Path>, mut state: watch::Receiver<State>) {
    wait_until_connected(&path).await;
    // A connection takes a round trip. A server that does not run refuses it.
    tokio::time::sleep(path.delay * 2).await;
    if !path.has_tcp.load(Ordering::Relaxed) {
        return reset(&client);
    }
    let Ok(mut server) = TcpStream::connect(path.server()).await else { return reset(&client) };
    let copied = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = copy(from_client, to_server, |length| path.count(&path.up, length), &path, state.clone());
        let down =
            copy(from_server, to_client, |length| path.count(&path.down, length), &path, state.clone());
        tokio::select! {
            copied = async { tokio::try_join!(up, down) } => copied.is_ok(),
            _ = state.wait_for(|state| *state == State::Reset) => false,
        }
    };
    if !copied {
        reset(&client);
        reset(&server);
    }
}

/// Copies one direction to its end, each chunk after the path's delay.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    count: impl Fn(usize),
    path: &Path,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS_MAX);
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            if length == 0 || sender.send((Instant::now() + path.delay, chunk)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            wait_until_connected(path).await;
            // What is blocked stays so: the sender never goes away, and this waits forever.
            let _ = state.wait_for(|state| *state == State::Open).await;
            count(chunk.len());
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

/// What is on the way waits for the network: TCP would send it again.
async fn wait_until_connected(path: &Path) {
    // Its sender lives as long as the path.
    let _ = path.connected.subscribe().wait_for(|connected| *connected).await;
}

/// Makes the end of this stream a reset.
fn reset(stream: &TcpStream) {
    // The other end may have ended it already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
