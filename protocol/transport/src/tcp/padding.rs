//! Padding: what the server sends on a new connection while it has nothing else to send, so that the kernel's congestion
//! window has grown before the first pull. BBR spreads the first window of a connection, 14 kB, over a third of a round
//! trip, and keeps what it has learned of the path while the connection is idle.
//!
//! The client requests it, once on each of the first two connections of a session. Must never be sent to a stranger, or
//! delay anything else.

use super::connection::Connection;
use super::dial::send;
use super::signal;
use crate::streams::SendStream;
use bytes::Bytes;

/// Bytes on each connection. (Measured with links of 0.2 to 1.2 s and small new images: 1.22 round trips without padding,
/// 1.00 with 64 KiB, as with 96 KiB and as over QUIC.)
const PADDING_BYTES: usize = 64 * 1024;

/// A part of it, which waits for the rate limit.
static CHUNK: [u8; 4096] = [0; 4096];

/// Sends it, within the rate limits of a large body, until something else is to be sent.
pub(crate) async fn answer(mut stream: SendStream) {
    stream.set_bulk();
    for _ in 0..PADDING_BYTES / CHUNK.len() {
        if stream.send(Bytes::from_static(&CHUNK)).await.is_err() {
            return;
        }
    }
    // An error means that something else is to be sent.
    let _ = stream.finish();
}

/// Requests and receives it. An error means that the connection has something better to do, or has ended.
pub(super) async fn receive(connection: Connection) -> Result<(), h2::Error> {
    let (response, mut body) = send(&connection, signal::padding_request()).await?;
    body.send_data(Bytes::new(), true)?;
    let mut padding = response.await?.into_body();
    while let Some(bytes) = padding.data().await {
        let count = bytes?.len();
        connection.meter.add_padding(count);
        padding.flow_control().release_capacity(count)?;
    }
    Ok(())
}
