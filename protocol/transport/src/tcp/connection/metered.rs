//! A TCP connection that counts its bytes, and knows whether the kernel takes more.
//!
//! Below TLS. Must never change a byte.

use super::super::socket;
use crate::connector::Permit;
use docxy_protocol::congestion::Choice;
use parking_lot::Mutex;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The counts of one connection.
#[derive(Debug, Default)]
pub(in super::super) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    padding: AtomicU64,
    reads: AtomicU64,
    is_blocked: AtomicBool,
    /// A congestion control that the socket does not have yet.
    choice: Mutex<Option<Choice>>,
    /// Bytes that the kernel may take and not send yet.
    unsent_max: AtomicU32,
}

impl Meter {
    /// Bytes that the kernel took for sending.
    pub(in super::super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub(in super::super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The same without the padding.
    pub(in super::super) fn received_content(&self) -> u64 {
        self.received().saturating_sub(self.padding.load(Ordering::Relaxed))
    }

    /// So many bytes of padding were received.
    pub(in super::super) fn add_padding(&self, bytes: usize) {
        self.padding.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How often something was received.
    pub(in super::super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether the kernel took not all that it was last given.
    pub(in super::super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Selects the congestion control of what is sent from now on.
    pub(in super::super) fn choose(&self, choice: Choice) {
        *self.choice.lock() = Some(choice);
    }

    /// Limits the bytes that the kernel takes and does not send yet, from the next write on.
    pub(in super::super) fn limit_unsent(&self, bytes: u32) {
        self.unsent_max.store(bytes, Ordering::Relaxed);
    }

    fn written(&self, result: Poll<Result<usize>>) -> Poll<Result<usize>> {
        self.is_blocked.store(result.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(count)) = result {
            self.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        result
    }
}

/// The connection.
#[derive(derive_more::Debug)]
pub(in super::super) struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
    /// The limit that the socket has; none if it is the one that it began with.
    unsent_max: u32,
    #[debug(skip)]
    _permit: Option<Permit>,
}

impl Metered {
    /// `permit` is what allows the connection, if it needs that.
    pub(in super::super) fn new(stream: TcpStream, permit: Option<Permit>) -> (Self, Arc<Meter>) {
        let meter = Arc::<Meter>::default();
        (Self { stream, meter: Arc::clone(&meter), unsent_max: 0, _permit: permit }, meter)
    }

    fn apply_options(&mut self) {
        if let Some(choice) = self.meter.choice.lock().take() {
            socket::set_congestion_control(&self.stream, choice);
        }
        let unsent_max = self.meter.unsent_max.load(Ordering::Relaxed);
        if self.unsent_max != unsent_max {
            self.unsent_max = unsent_max;
            socket::limit_unsent(&self.stream, unsent_max);
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.meter.received.fetch_add(count as u64, Ordering::Relaxed);
            self.meter.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.apply_options();
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.meter.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.apply_options();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.meter.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
