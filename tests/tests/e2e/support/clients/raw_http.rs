//! Requests and responses as bytes, for what an HTTP library hides, such as the end of a connection.
//! Must never interpret more than status, head and body.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::http_client::REQUEST_TIMEOUT;

/// The kernel's buffer of a connection. Without a fixed one it grows to tens of MiB, and a body that the test does not read
/// is a body that was delivered.
const RECEIVE_BUFFER_BYTES: u32 = 512 * 1024;

/// A connection after its request was sent.
pub(crate) struct RawConnection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// All bytes until the connection's end.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By FIN.
    Fin,
    /// By RST, which discards what the engine has not read yet.
    Reset,
}

/// Sends these bytes, and reads to the end of the connection.
pub(crate) async fn send_raw(address: SocketAddr, bytes: &[u8]) -> RawResponse {
    RawConnection::send(address, bytes).await.rest().await
}

impl RawConnection {
    pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Self {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    /// A `GET` on a persistent connection.
    pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        Self::send(address, request.as_bytes()).await
    }

    /// Reads the head and at least this many bytes of the body, and no more.
    pub(crate) async fn read_body(&mut self, at_least: usize) {
        let mut buffer = vec![0; 16 * 1024];
        while self.body_len().is_none_or(|len| len < at_least) {
            let read = timeout(REQUEST_TIMEOUT, self.stream.read(&mut buffer)).await;
            let read = read.expect("a response that goes on").unwrap();
            assert!(read > 0, "the response ended early: {:?}", String::from_utf8_lossy(&self.received));
            self.received.extend_from_slice(&buffer[..read]);
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(mut self) -> RawResponse {
        let end = match timeout(REQUEST_TIMEOUT, self.stream.read_to_end(&mut self.received)).await {
            Ok(Ok(_)) => End::Fin,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Ok(Err(error)) => panic!("reading failed: {error}"),
            Err(_) => panic!("the connection is still open after {REQUEST_TIMEOUT:?}"),
        };
        RawResponse { bytes: self.received, end }
    }

    /// The status of the response so far.
    pub(crate) fn status(&self) -> u16 {
        status(&self.received)
    }

    /// The body so far.
    pub(crate) fn body(&self) -> &[u8] {
        body_start(&self.received).map_or(&[], |start| &self.received[start..])
    }

    fn body_len(&self) -> Option<usize> {
        body_start(&self.received).map(|start| self.received.len() - start)
    }
}

impl RawResponse {
    /// Status line and headers, in lower case.
    pub(crate) fn head(&self) -> String {
        let end = body_start(&self.bytes).unwrap_or(self.bytes.len());
        String::from_utf8_lossy(&self.bytes[..end]).to_ascii_lowercase()
    }

    pub(crate) fn body(&self) -> &[u8] {
        body_start(&self.bytes).map_or(&[], |start| &self.bytes[start..])
    }

    pub(crate) fn status(&self) -> u16 {
        status(&self.bytes)
    }
}

fn status(bytes: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no response: {text:?}"))
}

fn body_start(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
