//! One QUIC connection as a leg.

use crate::error::SessionError;
use crate::path::Path;
use crate::session::Traffic;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::CloseCode;
use docxy_protocol::limits::{AUTHENTICATED_RECEIVE_WINDOW, STREAMS_PER_CLIENT_MAX};
use docxy_protocol::version::{alpn, answered_versions};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, RecvStream, SendStream, VarInt};
use std::net::SocketAddr;
use std::time::Duration;

/// The time between two looks for the confirmation of a close.
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A connection, to be used as a [`Session`](crate::Session). Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    connection: quinn::Connection,
    congestion: Handle,
    /// The endpoint of a connection that was dialed, which has no other.
    endpoint: Option<Endpoint>,
}

impl Connection {
    pub(super) fn new(connection: quinn::Connection, congestion: Handle, endpoint: Option<Endpoint>) -> Self {
        Self { connection, congestion, endpoint }
    }

    pub(crate) async fn open(&self, _: Traffic) -> Result<(SendStream, RecvStream), SessionError> {
        Ok(self.connection.open_bi().await?)
    }

    /// Streams come in the order in which they were opened.
    pub(crate) async fn accept(&self) -> Result<(SendStream, RecvStream), SessionError> {
        Ok(self.connection.accept_bi().await?)
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(VarInt::from_u32(code.code()), reason.as_bytes());
    }

    /// Strangers see that this is QUIC in any case.
    pub(crate) fn refuse(&self, code: CloseCode, reason: &str) {
        self.close(code, reason);
    }

    pub(crate) async fn lingers(&self) {}

    pub(crate) fn close_reason(&self) -> Option<SessionError> {
        self.connection.close_reason().map(SessionError::from)
    }

    pub(crate) async fn closed(&self) -> SessionError {
        self.connection.closed().await.into()
    }

    /// Returns when CONNECTION_CLOSE was sent.
    pub(crate) async fn wait_idle(&self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.wait_idle().await;
        }
    }

    /// A peer answers CONNECTION_CLOSE with its own (RFC 9000, section 10.2.2). quinn reports that nowhere else than
    /// in its counts, and its own end of the closing state comes three probe timeouts later.
    pub(crate) async fn close_confirmed(&self) {
        while self.connection.stats().frame_rx.connection_close == 0 {
            tokio::time::sleep(CLOSE_POLL_INTERVAL).await;
        }
    }

    pub(crate) fn wire_version(&self) -> Option<u16> {
        let data = self.connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let protocol = data.protocol?;
        answered_versions().find(|version| alpn(*version) == protocol)
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(crate) fn path(&self) -> Path {
        let stats = self.connection.stats();
        let sent = stats.frame_tx;
        // All frames that a client sends, without acknowledgements, which are not acknowledged (RFC 9000,
        // section 13.2).
        let ack_eliciting = [
            sent.crypto,
            sent.ping,
            sent.stream,
            sent.stop_sending,
            sent.reset_stream,
            sent.max_data,
            sent.max_stream_data,
            sent.path_challenge,
            sent.path_response,
            sent.retire_connection_id,
            sent.immediate_ack,
        ];
        Path {
            rtt: stats.path.rtt,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            datagrams_received: stats.udp_rx.datagrams,
            ack_eliciting_sent: ack_eliciting.iter().sum(),
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
        }
    }

    pub(crate) const fn congestion(&self) -> &Handle {
        &self.congestion
    }

    pub(crate) fn raise_limits(&self) {
        self.connection.set_receive_window(VarInt::from_u32(AUTHENTICATED_RECEIVE_WINDOW));
        self.connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_PER_CLIENT_MAX));
    }

    pub(crate) fn set_send_window(&self, bytes: u64) {
        self.connection.set_send_window(bytes);
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }
}
