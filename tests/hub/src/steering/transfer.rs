//! Bodies of blobs in transfer, and a record of the bytes that each has sent.
//! A body must never be collected: it is read in chunks as the connection accepts them.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    content::blob::{Blob, Digest},
    service::token::Epoch,
};

/// One body of a blob that the CDN has started to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The blob.
    pub digest: Digest,
    /// The offset of its first byte in the blob.
    pub start: u64,
    /// Bytes handed to the connection so far; some may still be in the socket's buffer.
    pub sent: u64,
    /// Its state.
    pub state: TransferState,
}

/// The state of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// In progress.
    Live,
    /// All bytes were handed over.
    Complete,
    /// The client disconnected, or a fault ended it.
    Broken,
}

/// The transfers did not reach the expected state in time.
#[derive(Debug, thiserror::Error)]
#[error("transfers not in the expected state within {within:?}: {now:#?}")]
pub struct TransferWaitError {
    /// How long it waited.
    pub within: Duration,
    /// The transfers at the end.
    pub now: Vec<Transfer>,
}

/// All transfers of a stand-in.
pub struct Transfers {
    all: Arc<watch::Sender<Vec<Transfer>>>,
}

impl Transfers {
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// All transfers so far, in the order of their start.
    pub fn snapshot(&self) -> Vec<Transfer> {
        self.all.borrow().clone()
    }

    /// The number of transfers in progress.
    pub fn live(&self) -> usize {
        self.all.borrow().iter().filter(|transfer| transfer.state == TransferState::Live).count()
    }

    /// Bytes handed over in all transfers.
    pub fn bytes_sent(&self) -> u64 {
        self.all.borrow().iter().map(|transfer| transfer.sent).sum()
    }

    /// Waits until the transfers are in the expected state.
    pub async fn wait_until(
        &self,
        is_expected: impl Fn(&[Transfer]) -> bool,
        within: Duration,
    ) -> Result<Vec<Transfer>, TransferWaitError> {
        let mut watch = self.all.subscribe();
        let found = tokio::time::timeout(within, watch.wait_for(|all| is_expected(all))).await;
        let found = found.ok().and_then(Result::ok).map(|all| all.clone());
        found.ok_or_else(|| TransferWaitError { within, now: self.snapshot() })
    }

    pub(crate) fn begin(&self, digest: Digest, start: u64) -> TransferRecord {
        let mut index = 0;
        self.all.send_modify(|all| {
            index = all.len();
            all.push(Transfer { digest, start, sent: 0, state: TransferState::Live });
        });
        TransferRecord { all: self.all.clone(), index }
    }
}

/// Updates the record of one transfer. If it is dropped early, the transfer is broken.
pub(crate) struct TransferRecord {
    all: Arc<watch::Sender<Vec<Transfer>>>,
    index: usize,
}

impl TransferRecord {
    fn change(&self, change: impl FnOnce(&mut Transfer)) {
        self.all.send_modify(|all| change(&mut all[self.index]));
    }
}

impl Drop for TransferRecord {
    fn drop(&mut self) {
        self.change(|transfer| {
            if transfer.state == TransferState::Live {
                transfer.state = TransferState::Broken;
            }
        });
    }
}

/// A part of a body.
pub(crate) enum BodyPart {
    /// Text between the parts of a multi-range response.
    Text(Bytes),
    /// Bytes `at..end` of the blob.
    BlobRange { at: u64, end: u64 },
}

impl BodyPart {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::BlobRange { at, end } => end - at,
        }
    }
}

/// A fault in a body, and its offset in the blob.
pub(crate) struct BodyFault {
    pub(crate) byte: u64,
    pub(crate) kind: BodyFaultKind,
}

pub(crate) enum BodyFaultKind {
    Cut {
        flushed: bool,
        /// Whose tokens expire first.
        expired: Option<Epoch>,
    },
    Corrupt,
    /// Sends nothing until the future is ready.
    Stall(Pin<Box<dyn Future<Output = ()> + Send>>),
}

pub(crate) struct BlobBody {
    pub(crate) blob: Blob,
    pub(crate) parts: VecDeque<BodyPart>,
    pub(crate) fault: Option<BodyFault>,
    pub(crate) record: TransferRecord,
}

impl BlobBody {
    /// Applies the fault if the next byte is the fault's.
    fn poll_fault(&mut self, next: u64, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match &mut self.fault {
            Some(BodyFault { byte, kind }) if *byte == next => match kind {
                BodyFaultKind::Stall(released) => {
                    std::task::ready!(released.as_mut().poll(context));
                    self.fault = None;
                    Poll::Ready(Ok(None))
                }
                BodyFaultKind::Cut { flushed: flushed @ false, expired } => {
                    if let Some(epoch) = expired {
                        epoch.end();
                    }
                    // An error discards the connection's buffer, so let it be flushed first.
                    *flushed = true;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                BodyFaultKind::Cut { flushed: true, .. } => {
                    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
                }
                BodyFaultKind::Corrupt => {
                    self.fault = None;
                    let wrong = self.blob.read(next, next + 1).iter().map(|byte| !byte).collect();
                    Poll::Ready(Ok(Some(wrong)))
                }
            },
            _ => Poll::Ready(Ok(None)),
        }
    }

    /// Where to stop reading: at the end of the range, or at the fault.
    fn read_end(&self, at: u64, end: u64) -> u64 {
        match &self.fault {
            Some(fault) if fault.byte > at => end.min(fault.byte),
            _ => end,
        }
    }
}

impl Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = &mut *self;
        let Some(part) = body.parts.pop_front() else { return Poll::Ready(None) };
        let chunk = match part {
            BodyPart::Text(text) => text,
            BodyPart::BlobRange { at, end } => {
                let met = body.poll_fault(at, context);
                let chunk = match met {
                    Poll::Ready(Ok(Some(wrong))) => wrong,
                    Poll::Ready(Ok(None)) => body.blob.read(at, body.read_end(at, end)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => {
                        body.parts.push_front(BodyPart::BlobRange { at, end });
                        return Poll::Pending;
                    }
                };
                let at = at + chunk.len() as u64;
                if at < end {
                    body.parts.push_front(BodyPart::BlobRange { at, end });
                }
                body.record.change(|transfer| transfer.sent += chunk.len() as u64);
                chunk
            }
        };
        if body.parts.is_empty() {
            body.record.change(|transfer| transfer.state = TransferState::Complete);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.parts.iter().map(BodyPart::len).sum())
    }
}
