//! A session: one leg's connections to the peer.

use crate::error::{SendError, SessionError};
use crate::leg::Leg as LegName;
#[cfg(feature = "test-legs")]
use crate::memory;
use crate::path::Path;
use crate::quic;
use crate::rate_limit::RateLimit;
use crate::streams::ReceiveStream;
use crate::streams::SendStream;
use crate::tcp;
use bytes::Bytes;
use docxy_protocol::congestion::{Choice, Handle};
use docxy_protocol::control::{CloseCode, Hello, StreamHeader};
use docxy_protocol::fault::Hop;
use docxy_protocol::frame;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;

/// A session. Clones share it, and it ends at the latest when the last clone and the last stream is dropped.
#[derive(Debug, Clone)]
pub struct Session {
    leg: Leg,
    limit: RateLimit,
    /// Bytes that the limit has counted, or that were sent before there was one.
    counted: Arc<Mutex<u64>>,
    /// The rate that a user has stated, on a leg whose own congestion control does not know it.
    stated: RateLimit,
}

/// The leg that carries a session.
#[derive(Debug, Clone)]
enum Leg {
    Quic(quic::Connection),
    Tcp(tcp::Connections),
    #[cfg(feature = "test-legs")]
    Memory(memory::End),
}

impl From<Leg> for Session {
    fn from(leg: Leg) -> Self {
        Self { leg, limit: RateLimit::default(), counted: Arc::default(), stated: RateLimit::default() }
    }
}

impl From<quic::Connection> for Session {
    fn from(connection: quic::Connection) -> Self {
        Leg::Quic(connection).into()
    }
}

impl From<tcp::Connections> for Session {
    fn from(connections: tcp::Connections) -> Self {
        let choice = connections.congestion().choice();
        let session = Self::from(Leg::Tcp(connections));
        session.stated.set(choice.stated_rate());
        session
    }
}

/// What a stream is for. A leg with several connections tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Control, requests and small responses.
    Small,
    /// A segment of a large body.
    Bulk,
}

#[cfg(feature = "test-legs")]
impl From<memory::End> for Session {
    fn from(end: memory::End) -> Self {
        Leg::Memory(end).into()
    }
}

impl Session {
    /// The same session, on whose streams from now on this side sends within `limit`, with all that this takes on the wire.
    #[must_use]
    pub fn with_rate_limit(self, limit: RateLimit) -> Self {
        *self.counted.lock() = self.path().bytes_sent;
        Self { limit, ..self }
    }

    /// Waits until so many bytes of a stream may be sent.
    pub(crate) async fn wait_to_send(&self, bytes: usize, traffic: Traffic) {
        match traffic {
            Traffic::Small => self.stated.count(bytes),
            Traffic::Bulk => self.stated.wait(bytes, traffic).await,
        }
        if self.limit.is_set() {
            self.limit.count(self.uncounted(bytes));
            self.limit.wait(bytes, traffic).await;
        }
    }

    /// What was sent, beyond the bytes of streams that are counted: headers, acknowledgements, and what was lost and sent
    /// again. On TCP, the kernel acknowledges and sends again, and does not tell how much. From now on, it is counted,
    /// and so are these bytes.
    fn uncounted(&self, bytes: usize) -> usize {
        let mut counted = self.counted.lock();
        let sent = self.path().bytes_sent;
        let uncounted = sent.saturating_sub(*counted);
        *counted += uncounted + bytes as u64;
        uncounted as usize
    }

    /// Opens a stream, and sends its header as a frame.
    ///
    /// # Errors
    /// If the header is too long, or the session ends first.
    pub async fn open(&self, header: &StreamHeader) -> Result<(SendStream, ReceiveStream), SendError> {
        let traffic = match header {
            StreamHeader::Request(_) | StreamHeader::Echo => Traffic::Small,
            StreamHeader::Segment(_) => Traffic::Bulk,
        };
        self.open_with(frame::encode(header)?, traffic).await
    }

    /// Opens a stream on which nothing is sent but its header.
    ///
    /// # Errors
    /// If the header is too long, or the session ends first.
    pub async fn open_finished(&self, header: &StreamHeader) -> Result<ReceiveStream, SendError> {
        let (send, receive) = self.open(header).await?;
        send.finish()?;
        Ok(receive)
    }

    /// Opens the control stream with a Hello, which must be on the first stream of a session.
    ///
    /// # Errors
    /// If the session ends first.
    pub async fn open_control(&self, hello: &Hello) -> Result<ReceiveStream, SendError> {
        let (send, receive) = self.open_with(hello.encode()?, Traffic::Small).await?;
        send.finish()?;
        Ok(receive)
    }

    async fn open_with(
        &self,
        header: Vec<u8>,
        traffic: Traffic,
    ) -> Result<(SendStream, ReceiveStream), SendError> {
        let (send, receive) = on_leg!(&self.leg, leg => {
            let (send, receive) = leg.open(traffic).await?;
            (send.into(), receive.into())
        });
        // A request that is dropped was cancelled by its engine.
        let mut send = SendStream::new(send, Hop::Engine, self.clone());
        send.send(Bytes::from(header)).await?;
        Ok((send, receive))
    }

    /// Waits for the next stream of the client. A leg with several connections may deliver streams in another
    /// order than they were opened in.
    ///
    /// # Errors
    /// If the session ends first.
    pub async fn accept(&self) -> Result<(SendStream, ReceiveStream), SessionError> {
        loop {
            let (send, receive) = on_leg!(&self.leg, leg => {
                let (send, receive) = leg.accept().await?;
                (send.into(), receive.into())
            });
            let send = SendStream::new(send, Hop::Server, self.clone());
            if !send.is_padding() {
                return Ok((send, receive));
            }
            tokio::spawn(tcp::padding::answer(send));
        }
    }

    /// Sends something that the peer must acknowledge on each connection, so that it shows whether it is alive: a ping,
    /// or, where there is none, a stream that ends without a header, which the peer ignores. Does nothing while no stream
    /// may be opened.
    pub fn probe(&self) {
        match &self.leg {
            Leg::Quic(connection) => drop(connection.open(Traffic::Small).now_or_never()),
            Leg::Tcp(connections) => connections.probe(),
            #[cfg(feature = "test-legs")]
            Leg::Memory(_) => {}
        }
    }

    /// Closes the session with this code and its text. A session that has ended stays as it is.
    pub fn close(&self, code: CloseCode) {
        self.close_with(code, code.reason());
    }

    /// The same with another text, which the peer shows to its user.
    pub fn close_with(&self, code: CloseCode, reason: &str) {
        on_leg!(&self.leg, leg => leg.close(code, reason));
    }

    /// Closes the session of a peer that has not shown to be a client: on a leg that looks like something else to
    /// strangers, it learns no code and no text.
    pub fn refuse(&self, code: CloseCode, reason: &str) {
        on_leg!(&self.leg, leg => leg.refuse(code, reason));
    }

    /// Waits while a leg still shows a refused peer what it looks like to strangers. It ends with the last handle.
    pub async fn lingers(&self) {
        on_leg!(&self.leg, leg => leg.lingers().await);
    }

    /// Waits until a session over TCP has a connection for bulk.
    #[cfg(feature = "test-legs")]
    pub(crate) async fn joined(&self) {
        if let Leg::Tcp(connections) = &self.leg {
            connections.joined().await;
        }
    }

    /// The name of its leg. A leg of tests has QUIC's.
    #[must_use]
    pub const fn leg(&self) -> LegName {
        match &self.leg {
            Leg::Quic(_) => LegName::Quic,
            Leg::Tcp(_) => LegName::Tcp,
            #[cfg(feature = "test-legs")]
            Leg::Memory(_) => LegName::Quic,
        }
    }

    /// Why the session ended; `None` while it has not.
    #[must_use]
    pub fn close_reason(&self) -> Option<SessionError> {
        on_leg!(&self.leg, leg => leg.close_reason())
    }

    /// Waits until the session ends.
    pub async fn closed(&self) -> SessionError {
        on_leg!(&self.leg, leg => leg.closed().await)
    }

    /// Waits until the peer was told that the dialed session is closed.
    pub async fn wait_idle(&self) {
        on_leg!(&self.leg, leg => leg.wait_idle().await);
    }

    /// Waits until the peer has confirmed that it knows of the close by this side. A peer that is gone never does.
    pub async fn close_confirmed(&self) {
        on_leg!(&self.leg, leg => leg.close_confirmed().await);
    }

    /// The version of the wire that the leg's handshake settled; `None` if it settles none, and the Hello does.
    #[must_use]
    pub fn wire_version(&self) -> Option<u16> {
        on_leg!(&self.leg, leg => leg.wire_version())
    }

    /// The current address of the peer.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        on_leg!(&self.leg, leg => leg.remote_address())
    }

    /// The path to the peer. Cheap enough for each segment, not for each packet.
    #[must_use]
    pub fn path(&self) -> Path {
        on_leg!(&self.leg, leg => leg.path())
    }

    /// Selects how this side sends. On TCP the kernel does it: with CUBIC, or with BBR, which stays within a stated rate.
    pub fn choose_congestion(&self, choice: Choice) {
        match &self.leg {
            Leg::Tcp(connections) => {
                self.stated.set(choice.stated_rate());
                connections.choose_congestion(choice);
            }
            _ => self.congestion().choose(choice),
        }
    }

    /// How this side sends. A leg whose congestion control is not ours measures nothing.
    #[must_use]
    pub fn congestion(&self) -> &Handle {
        on_leg!(&self.leg, leg => leg.congestion())
    }

    /// Raises the limits of an unauthenticated client to those of an authenticated one:
    /// [`AUTHENTICATED_RECEIVE_WINDOW`](docxy_protocol::limits::AUTHENTICATED_RECEIVE_WINDOW) and
    /// [`STREAMS_PER_CLIENT_MAX`](docxy_protocol::limits::STREAMS_PER_CLIENT_MAX).
    pub fn raise_limits(&self) {
        on_leg!(&self.leg, leg => leg.raise_limits());
    }

    /// Bytes that this side may hold unacknowledged, over all streams.
    pub fn set_send_window(&self, bytes: u64) {
        on_leg!(&self.leg, leg => leg.set_send_window(bytes));
    }

    /// Whether both are the same session.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.leg, &other.leg) {
            (Leg::Quic(one), Leg::Quic(other)) => one.is_same(other),
            (Leg::Tcp(one), Leg::Tcp(other)) => one.is_same(other),
            #[cfg(feature = "test-legs")]
            (Leg::Memory(one), Leg::Memory(other)) => one.is_same(other),
            _ => false,
        }
    }
}
