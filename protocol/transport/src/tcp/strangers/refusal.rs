//! What a web server says to an HTTP/1.1 request that it cannot read: the status also as text, and the end.
//!
//! hyper answers without a text, and not at all to some. Must never change another response.

use http::StatusCode;
use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy, sink};

/// How long what a peer still sends is read after its refusal, and how much: what is not read resets the connection,
/// maybe before the peer has read the answer.
const UNREAD_TIME_MAX: Duration = Duration::from_millis(500);
const UNREAD_BYTES_MAX: u64 = 256 * 1024;

/// A connection that hyper serves, without its refusals and without its end.
#[derive(Debug)]
pub(in crate::tcp) struct Refusing<T> {
    stream: T,
    refused: Option<StatusCode>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Refusing<T> {
    pub(in crate::tcp) const fn new(stream: T) -> Self {
        Self { stream, refused: None }
    }

    /// Ends the connection, with a refusal if it has had one, or if `is_unreadable`.
    pub(in crate::tcp) async fn end(mut self, is_unreadable: bool) -> Result<()> {
        let refused = self.refused.or(is_unreadable.then_some(StatusCode::BAD_REQUEST));
        if let Some(status) = refused {
            let text = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{status}"
            );
            self.stream.write_all(text.as_bytes()).await?;
        }
        self.stream.shutdown().await?;
        if refused.is_some() {
            let mut unread = (&mut self.stream).take(UNREAD_BYTES_MAX);
            // Either way, the connection ends now.
            let _ = tokio::time::timeout(UNREAD_TIME_MAX, copy(&mut unread, &mut sink())).await;
        }
        Ok(())
    }
}

/// The status of a refusal: all other responses are a 404, or a 100 before it.
fn refusal(head: &[u8]) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    (status.is_client_error() && status != StatusCode::NOT_FOUND).then_some(status)
}

impl<T: AsyncRead + Unpin> AsyncRead for Refusing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Refusing<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.refused = self.refused.or_else(|| refusal(bytes));
        if self.refused.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}
