//! The body of a response over one connection, received as fast as it is read.
//!
//! It ends only when all bytes arrived. After a loss the bytes that arrived can be kept; they must never
//! count as more than they are. Dropping the body stops the transfer at its source.

use super::body_error::BodyError;
use super::buffered_range::BufferedRange;
use super::chunk_reader::ChunkReader;
use super::prefetch_stream::{PrefetchStream, StreamTail};
use super::segments::Segments;
use bytes::Bytes;
use docxy_protocol::segment::SegmentLayout;
use docxy_transport::ReceiveStream;
use std::fmt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A body.
pub(crate) struct TunnelBody {
    length: Option<u64>,
    source: BodySource,
    /// The permit of its request, until it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

/// The streams of the body.
enum BodySource {
    Empty,
    /// The stream of the response.
    Stream {
        reader: ChunkReader,
        received: u64,
        /// Receives the stream after the body.
        prefetch: Option<oneshot::Sender<StreamTail>>,
    },
    Segments(Box<SegmentedBody>),
}

/// Segments. The stream of the response reports at its end whether the body is complete.
struct SegmentedBody {
    segments: Segments,
    layout: SegmentLayout,
    main: ChunkReader,
}

impl TunnelBody {
    pub(super) fn empty(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { length: Some(0), source: BodySource::Empty, permit }
    }

    pub(super) fn on_stream(
        stream: ReceiveStream,
        length: Option<u64>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let source = BodySource::Stream { reader: ChunkReader::new(stream), received: 0, prefetch: None };
        Self { length, source, permit }
    }

    /// A body with prefetched content after it.
    pub(super) fn before_prefetch(
        stream: ReceiveStream,
        length: Option<u64>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> (Self, PrefetchStream) {
        let (sender, prefetch) = PrefetchStream::after_body();
        let source =
            BodySource::Stream { reader: ChunkReader::new(stream), received: 0, prefetch: Some(sender) };
        (Self { length, source, permit }, prefetch)
    }

    pub(super) fn in_segments(
        mut segments: Segments,
        layout: SegmentLayout,
        main: ReceiveStream,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        segments.close_surplus(layout);
        let segmented = SegmentedBody { segments, layout, main: ChunkReader::new(main) };
        Self { length: Some(layout.length()), source: BodySource::Segments(Box::new(segmented)), permit }
    }

    /// A body that never arrives, for tests of response heads.
    #[cfg(test)]
    pub(crate) fn of_length(length: u64) -> Self {
        Self { length: Some(length), ..Self::empty(None) }
    }

    /// The length in bytes, if it is known.
    #[must_use]
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of a complete body.
    ///
    /// # Errors
    /// If the body is interrupted, or is longer or shorter than announced.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.source {
            BodySource::Empty => Ok(None),
            BodySource::Stream { reader, received, .. } => match reader.next().await? {
                Some(bytes) => {
                    *received += bytes.len() as u64;
                    if self.length.is_some_and(|length| *received > length) {
                        return Err(BodyError::mismatch("the body is longer than announced"));
                    }
                    if self.length == Some(*received) {
                        // The reader may stop here, since the length shows that this is the end.
                        self.release_stream();
                    }
                    Ok(Some(bytes))
                }
                None if self.length.is_none_or(|length| length == *received) => {
                    self.release_stream();
                    Ok(None)
                }
                None => Err(BodyError::mismatch("the body ended early")),
            },
            BodySource::Segments(body) => body.next().await,
        }
    }

    /// Passes the stream after a complete body to its receiver.
    fn release_stream(&mut self) {
        let BodySource::Stream { prefetch: receiver @ Some(_), .. } = &mut self.source else { return };
        let receiver = receiver.take();
        let permit = self.permit.take();
        if let (Some(receiver), BodySource::Stream { reader, .. }) =
            (receiver, std::mem::replace(&mut self.source, BodySource::Empty))
        {
            // The stream is dropped if the receiver is gone.
            let _ = receiver.send(StreamTail { reader, _permit: permit });
        }
    }

    /// The bytes that arrived and were not read, in order. Never waits.
    pub(crate) fn into_buffered(self) -> Vec<BufferedRange> {
        match self.source {
            BodySource::Empty => Vec::new(),
            BodySource::Stream { reader, received, .. } => {
                vec![BufferedRange { at: received, chunks: reader.into_buffered(), permit: None }]
            }
            BodySource::Segments(body) => body.segments.into_buffered(body.layout),
        }
    }
}

impl SegmentedBody {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.segments.next(self.layout, &mut self.main).await? {
            Some(bytes) => Ok(Some(bytes)),
            // The server may report an error at the very end.
            None => match self.main.next().await? {
                None => Ok(None),
                Some(_) => Err(BodyError::mismatch("the body is longer than announced")),
            },
        }
    }
}

impl fmt::Debug for TunnelBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBody").field("length", &self.length).finish_non_exhaustive()
    }
}
