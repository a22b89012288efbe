//! Writes a response on its own stream: its head, its body in chunks, and then whether the body was whole.
//!
//! A failure is reported in order, after all bytes that were read before it. Must never finish a stream
//! whose body was truncated: one that is dropped is reset.

use super::prefetch_writer::PrefetchWriter;
use super::response_stream::ResponseStream;
use super::undelivered::Undelivered;
use bytes::Bytes;
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use docxy_transport::SendError;

/// A response whose head has been written.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    stream: ResponseStream,
}

impl ChunkWriter {
    /// Sends the head, which is a frame.
    pub(crate) async fn start(mut stream: ResponseStream, head: Bytes) -> Result<Self, SendError> {
        stream.send(head).await?;
        Ok(Self { stream })
    }

    /// Its stream, to set its urgency and its slot.
    pub(crate) const fn stream(&mut self) -> &mut ResponseStream {
        &mut self.stream
    }

    /// Sends bytes of the body.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let count =
                u32::try_from(bytes.len()).unwrap_or(ChunkHeader::DATA_MAX).min(ChunkHeader::DATA_MAX);
            self.write_header(ChunkHeader::Data(count)).await?;
            self.stream.send(bytes.split_to(count as usize)).await?;
        }
        Ok(())
    }

    /// Reports that the body was whole. Prefetched items may follow.
    pub(crate) async fn end(mut self) -> Result<PrefetchWriter, SendError> {
        self.write_header(ChunkHeader::End).await?;
        Ok(PrefetchWriter::new(self.stream))
    }

    /// Reports the fault that the body failed with.
    pub(crate) async fn abort(mut self, fault: &Fault, undelivered: &Undelivered) -> Result<(), SendError> {
        // A fault's text is bounded, so its frame is too.
        let fault = frame::encode(fault)?;
        self.write_header(ChunkHeader::Aborted).await?;
        self.stream.send(fault.into()).await?;
        undelivered.finish(self.stream, None)
    }

    /// Resets the stream, for a client that does not read it.
    pub(crate) fn reset(self, fault: &Fault) {
        self.stream.reset(fault);
    }

    async fn write_header(&mut self, header: ChunkHeader) -> Result<(), SendError> {
        self.stream.send(Bytes::copy_from_slice(&header.to_bytes())).await
    }
}
