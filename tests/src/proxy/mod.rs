//! A proxy for tests, which speaks HTTP CONNECT (RFC 9110) or SOCKS5 (RFC 1928): with a password, with faults, and with
//! a log of what was asked of it.
//! Must never connect to anything but the addresses that a test has given it.

mod http;
mod socks;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5.
    Socks5,
}

/// What a proxy does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// Reads the request, and never answers.
    Hang,
    /// Closes the connection instead of an answer.
    Close,
    /// Answers something else than its protocol.
    Garbage,
    /// Refuses every destination: status 403, or reply 2.
    Forbid,
    /// Reaches no destination: status 502, or reply 4.
    Unreachable,
    /// Answers after this time.
    Slow(Duration),
}

/// A running proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    protocol: Protocol,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    disconnect: Arc<Notify>,
    _listener: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    credentials: Option<(String, String)>,
    routes: BTreeMap<String, SocketAddr>,
    fault: Option<ProxyFault>,
    destinations: Vec<String>,
    bytes: u64,
}

/// The end of a handshake that gives no connection.
#[derive(Debug)]
enum Refusal {
    /// The credentials are missing, or wrong.
    Credentials,
    /// The destination is not allowed.
    Forbidden,
    /// The destination cannot be reached.
    Unreachable,
    /// The connection is closed without an answer.
    Close,
    /// Something else is sent.
    Garbage,
}

impl Proxy {
    /// A proxy on 127.0.0.1.
    pub async fn start(protocol: Protocol) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        let disconnect = Arc::<Notify>::default();
        tasks.spawn(accept(listener, protocol, state.clone(), disconnect.clone()));
        Ok(Self { protocol, address, state, disconnect, _listener: tasks })
    }

    /// Accepts only this user with this password from now on.
    pub fn require(&self, user: &str, password: &str) {
        self.state().credentials = Some((user.to_owned(), password.to_owned()));
    }

    /// Connects to `address` for those who ask for this destination: a name or an address, with a port.
    pub fn route(&self, destination: impl ToString, address: SocketAddr) {
        self.state().routes.insert(destination.to_string(), address);
    }

    /// Fails in this way from now on.
    pub fn set_fault(&self, fault: Option<ProxyFault>) {
        self.state().fault = fault;
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        self.disconnect.notify_waiters();
    }

    /// All destinations that it was asked for, in order.
    pub fn destinations(&self) -> Vec<String> {
        self.state().destinations.clone()
    }

    /// The bytes that it has passed on, in both directions, on connections that have ended.
    pub fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with this text before the host, such as `user:password@`.
    pub fn url(&self, user_information: &str) -> String {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Socks5 => "socks5",
        };
        format!("{scheme}://{user_information}{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with this lock")
    }
}

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    state: Arc<Mutex<State>>,
    disconnect: Arc<Notify>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, protocol, state.clone()));
            }
            () = disconnect.notified() => connections.abort_all(),
        }
    }
}

async fn serve(mut stream: TcpStream, protocol: Protocol, state: Arc<Mutex<State>>) {
    let served = match protocol {
        Protocol::Http => http::serve(&mut stream, &state).await,
        Protocol::Socks5 => socks::serve(&mut stream, &state).await,
    };
    // A peer that disconnects is no error.
    let Ok(Some(mut destination)) = served else { return };
    if let Ok((up, down)) = tokio::io::copy_bidirectional(&mut stream, &mut destination).await {
        state.lock().expect("no test panics with this lock").bytes += up + down;
    }
}

/// Whether these are the right credentials.
fn check_credentials(state: &Mutex<State>, given: Option<(&str, &str)>) -> Result<(), Refusal> {
    let state = state.lock().expect("no test panics with this lock");
    let right = state.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
    if right.is_none() || right == given { Ok(()) } else { Err(Refusal::Credentials) }
}

/// Connects to a destination, or fails as the test wants it.
async fn connect(state: &Mutex<State>, destination: &str) -> Result<TcpStream, Refusal> {
    let (fault, route) = {
        let mut state = state.lock().expect("no test panics with this lock");
        state.destinations.push(destination.to_owned());
        (state.fault, state.routes.get(destination).copied())
    };
    match fault {
        Some(ProxyFault::Hang) => std::future::pending().await,
        Some(ProxyFault::Close) => return Err(Refusal::Close),
        Some(ProxyFault::Garbage) => return Err(Refusal::Garbage),
        Some(ProxyFault::Forbid) => return Err(Refusal::Forbidden),
        Some(ProxyFault::Unreachable) => return Err(Refusal::Unreachable),
        Some(ProxyFault::Slow(delay)) => tokio::time::sleep(delay).await,
        None => {}
    }
    TcpStream::connect(route.ok_or(Refusal::Unreachable)?).await.map_err(|_| Refusal::Unreachable)
}

async fn send_garbage(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"220 mail.example ESMTP\r\n").await?;
    // Until the peer closes: a reset could discard the answer.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
