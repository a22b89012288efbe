//! Gets the snapshot of a running client: over its private socket, or else where it listens.

use super::Snapshot;
use bytes::Bytes;
use docxy_host::net::private_socket;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Time for a client on this machine to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a snapshot: a thousand pulls.
const SNAPSHOT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No client answers.
#[derive(Debug, thiserror::Error)]
#[error("no docxy-client answers at {address}: {source}; it is started by: {start}")]
pub struct NotRunning {
    address: SocketAddr,
    source: io::Error,
    start: &'static str,
}

/// The snapshot of the client that listens at one of these sockets, or at this address.
///
/// # Errors
/// If none answers.
pub(crate) async fn read(sockets: &[PathBuf], address: SocketAddr) -> Result<Snapshot, NotRunning> {
    for socket in sockets {
        let answer = async { get(private_socket::connect(socket).await?, address.port()).await };
        if let Ok(Ok(snapshot)) = timeout(ANSWER_TIMEOUT, answer).await {
            return Ok(snapshot);
        }
    }
    let answer = async { get(TcpStream::connect(address).await?, address.port()).await };
    let answer =
        timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let start = crate::command::doctor::local_client::start_command();
    answer.map_err(|source| NotRunning { address, source, start })
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    port: u16,
) -> io::Result<Snapshot> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    // A name that every client accepts.
    let request = Request::get("/api/status").header(header::HOST, format!("localhost:{port}"));
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let body =
        Limited::new(response.into_body(), SNAPSHOT_BYTES_MAX).collect().await.map_err(io::Error::other)?;
    // An older client, or another program.
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| io::Error::other("what answers there is no docxy-client of this version"))
}
