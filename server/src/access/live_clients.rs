//! Who is connected now, and what all have used until now: the running server tells `docxy-server clients` at a private
//! socket in the state directory.
//!
//! Must never keep the server from serving: without the socket, the command has what was last written.

use crate::state::State;
use crate::state::usage::StoredUsages;
use docxy_host::net::private_socket::{self, PrivateSocket};
use docxy_protocol::link::ClientName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The socket's name in the state directory.
const SOCKET_NAME: &str = "server.sock";

/// How long one end waits for the other.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the server waits after it could not accept a command, probably for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What the running server tells.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LiveClients {
    /// The number of connections of each client that is connected.
    pub(crate) connections: BTreeMap<ClientName, usize>,
    /// What each client has used.
    pub(crate) usage: StoredUsages,
}

/// Serves what `now` gives, until the runtime ends.
pub(crate) fn serve(state: &State, now: impl Fn() -> LiveClients + Send + Sync + 'static) {
    // The directory may be a symbolic link, as with systemd's DynamicUser.
    let path = state.path("").canonicalize().unwrap_or_else(|_| state.path("")).join(SOCKET_NAME);
    match PrivateSocket::bind(&path) {
        Ok(socket) => {
            tokio::spawn(async move {
                loop {
                    match socket.accept().await {
                        Ok(stream) => {
                            let _ = tokio::time::timeout(TIMEOUT, tell(stream, &now())).await;
                        }
                        Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
                    }
                }
            });
        }
        Err(error) => tracing::warn!(%error, "docxy-server clients cannot say who is connected"),
    }
}

async fn tell(mut stream: UnixStream, clients: &LiveClients) -> io::Result<()> {
    stream.write_all(&serde_json::to_vec(clients)?).await?;
    stream.shutdown().await
}

/// What the server that runs on this state tells.
///
/// # Errors
/// If none runs, it does not answer, or this user may not ask.
pub(crate) fn ask(state: &State) -> io::Result<LiveClients> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, read(&state.path(SOCKET_NAME))).await? })
}

async fn read(socket: &Path) -> io::Result<LiveClients> {
    let mut text = Vec::new();
    private_socket::connect(socket).await?.read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}
