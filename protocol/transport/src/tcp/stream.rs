//! The halves of a stream: one HTTP/2 request and its response. They have the methods of quinn's.
//!
//! Must never end a body that its peer did not end, nor reset a control stream: that ends the connection.

use super::connection::{LoadedStream, Outbox, Outcome};
use super::session::{Handle, Kind};
use super::signal::{self, Reset};
use crate::error::{ReadError, SendError};
use crate::streams::Body;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use quinn::VarInt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::sync::{mpsc, watch};

/// The sending half.
#[derive(derive_more::Debug)]
pub(crate) struct Sender {
    #[debug(skip)]
    pub(super) handle: Arc<Handle>,
    #[debug(skip)]
    pub(super) outbox: Arc<Outbox>,
    pub(super) stream: u64,
    pub(super) outcome: watch::Receiver<Outcome>,
    pub(super) kind: Kind,
}

/// The receiving half.
#[derive(derive_more::Debug)]
pub(crate) struct Receiver {
    #[debug(skip)]
    pub(super) handle: Arc<Handle>,
    #[debug(skip)]
    pub(super) source: Source,
    /// What was received and not read.
    #[debug(skip)]
    pub(super) unread: Bytes,
    /// The other half, which h2 must reset if that has not ended.
    #[debug(skip)]
    pub(super) outbox: Arc<Outbox>,
    pub(super) stream: u64,
    pub(super) _load: Option<LoadedStream>,
}

/// Where a receiver's bytes come from.
pub(super) enum Source {
    /// A response whose head has not arrived.
    Awaited(ResponseFuture),
    Body(RecvStream),
    /// A request's body, which a stranger may have sent.
    Unauthenticated(RecvStream),
    /// The control stream of a client, which the driver reads.
    Control(mpsc::UnboundedReceiver<Bytes>),
    Ended,
}

impl Sender {
    /// Whether padding is to be sent on it.
    pub(crate) fn is_padding(&self) -> bool {
        self.kind == Kind::Padding
    }

    pub(crate) async fn write_chunk(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        let sent = poll_fn(|cx| self.outbox.poll_send(self.stream, &mut bytes, cx)).await;
        sent.map_err(|outcome| match (outcome, self.handle.close_reason()) {
            (Outcome::Lost, Some(error)) => SendError::Lost(error),
            // A session goes on without one of its connections.
            _ => SendError::Stopped,
        })
    }

    pub(crate) fn finish(&mut self) -> Result<(), SendError> {
        if self.outbox.finish(self.stream) { Ok(()) } else { Err(SendError::Stopped) }
    }

    pub(crate) fn reset(&mut self, code: VarInt) -> Result<(), SendError> {
        if self.kind != Kind::Control {
            self.outbox.reset(self.stream, signal::reset_reason(code));
        }
        Ok(())
    }

    pub(crate) fn set_priority(&self, priority: i32) -> Result<(), SendError> {
        self.outbox.set_urgency(self.stream, -priority);
        Ok(())
    }

    pub(crate) fn set_turn(&self, body: Body, turn: i32) {
        self.outbox.set_turn(self.stream, body, turn);
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = Result<Option<()>, ()>> + Send + 'static {
        let mut outcome = self.outcome.clone();
        async move {
            // A stream that is reset here has no outcome.
            match outcome.wait_for(|outcome| *outcome != Outcome::Open).await.as_deref() {
                Ok(Outcome::Stopped) => Ok(Some(())),
                Ok(Outcome::Lost) => Err(()),
                Ok(Outcome::Delivered | Outcome::Open) | Err(_) => Ok(None),
            }
        }
    }
}

impl Receiver {
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let mut buffer = ReadBuf::new(buffer);
        poll_fn(|cx| self.poll_read_buf(cx, &mut buffer)).await?;
        let count = buffer.filled().len();
        Ok((count > 0).then_some(count))
    }

    pub(crate) async fn read_chunk(&mut self, length_max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_chunk(cx, length_max)).await
    }

    pub(crate) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), ReadError>> {
        if let Some(bytes) = ready!(self.poll_chunk(cx, buffer.remaining()))? {
            buffer.put_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        length_max: usize,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        while self.unread.is_empty() {
            self.unread = match ready!(self.poll_source(cx)) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    self.source = Source::Ended;
                    return Poll::Ready(Ok(None));
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
        }
        let bytes = self.unread.split_to(self.unread.len().min(length_max));
        if let Source::Body(body) | Source::Unauthenticated(body) = &mut self.source {
            // Only what is read makes room for more. An error means that the stream has ended.
            let _ = body.flow_control().release_capacity(bytes.len());
        }
        Poll::Ready(Ok(Some(bytes)))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            let failed = match &mut self.source {
                Source::Awaited(response) => match ready!(Pin::new(response).poll(cx)) {
                    // Only the control stream can have another status.
                    Ok(response) => {
                        self.source = Source::Body(response.into_body());
                        continue;
                    }
                    Err(error) => error,
                },
                Source::Body(body) | Source::Unauthenticated(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                    None => return Poll::Ready(Ok(None)),
                    Some(Err(error)) => error,
                },
                Source::Control(messages) => {
                    return Poll::Ready(match ready!(messages.poll_recv(cx)) {
                        Some(bytes) => Ok(Some(bytes)),
                        // It ends with the session.
                        None => Err(self.handle.close_reason().map_or(ReadError::Ended, ReadError::Lost)),
                    });
                }
                Source::Ended => return Poll::Ready(Ok(None)),
            };
            return Poll::Ready(Err(self.read_error(&failed)));
        }
    }

    fn read_error(&self, error: &h2::Error) -> ReadError {
        match (Reset::of(error), self.handle.close_reason()) {
            (Some(Reset::Fault(fault)), _) => ReadError::Reset(fault),
            (_, Some(reason)) => ReadError::Lost(reason),
            // A session goes on without one of its connections.
            (reset, None) => {
                let detail = if reset.is_some() { "a stream was reset" } else { "a connection was lost" };
                ReadError::Reset(Fault::new(Hop::Tunnel, FaultKind::Unreachable, detail))
            }
        }
    }
}

/// The peer is told to stop.
impl Drop for Receiver {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.source, Source::Ended) {
            // h2 resets a stream of which nothing is left here.
            Source::Awaited(_) => self.outbox.reset(self.stream, Reason::CANCEL),
            Source::Body(body) if self.handle.is_client() => {
                if !body.is_end_stream() {
                    self.outbox.reset(self.stream, Reason::CANCEL);
                }
            }
            // It is answered when it has ended, if nothing else answers it.
            Source::Unauthenticated(body) => self.handle.keep_unauthenticated(body),
            Source::Body(_) | Source::Control(_) | Source::Ended => {}
        }
    }
}
