//! An answer on its own stream: its head, then its body in pieces, then a word on how it ended.
//!
//! Broken is told in order, behind everything that was sent before. Dropped without a word, the
//! stream is reset, which is never taken for an end either.

use super::ahead::Ahead;
use super::outgoing::{Outgoing, SendError};
use bytes::Bytes;
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;

/// An answer whose head is out.
#[derive(Debug)]
pub(super) struct Pieces {
    stream: Outgoing,
}

impl Pieces {
    /// Sends the head, a frame.
    pub(super) async fn begin(mut stream: Outgoing, head: Bytes) -> Result<Self, SendError> {
        stream.write(head).await?;
        Ok(Self { stream })
    }

    /// Sends bytes of the body.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let count =
                u32::try_from(bytes.len()).unwrap_or(ChunkHeader::DATA_MAX).min(ChunkHeader::DATA_MAX);
            self.announce(ChunkHeader::Data(count)).await?;
            self.stream.write(bytes.split_to(count as usize)).await?;
        }
        Ok(())
    }

    /// Says that the body was whole. What comes ahead may follow.
    pub(super) async fn end(mut self) -> Result<Ahead, SendError> {
        self.announce(ChunkHeader::End).await?;
        Ok(Ahead::behind(self.stream))
    }

    /// Says what the body broke off with.
    pub(super) async fn break_off(mut self, fault: &Fault) -> Result<(), SendError> {
        // A fault's text is bounded, so its frame is.
        let fault = frame::encode(fault).map_err(|_| SendError)?;
        self.announce(ChunkHeader::Aborted).await?;
        self.stream.write(fault.into()).await?;
        self.stream.finish()
    }

    /// The same, to a client that reads nothing of it.
    pub(super) fn reset(self, fault: &Fault) {
        self.stream.reset(fault);
    }

    async fn announce(&mut self, piece: ChunkHeader) -> Result<(), SendError> {
        self.stream.write(Bytes::copy_from_slice(&piece.to_bytes())).await
    }
}
