//! The segment streams that a request for a manifest opens for layers: see [`docxy_protocol::prefetch`].
//!
//! Checks nothing. Dropping a stream stops it at the server.

use super::READ_BYTES_MAX;
use super::error::ExchangeError;
use crate::tunnel::{SegmentPermit, Session};
use bytes::Bytes;
use docxy_protocol::control::{ExchangeId, SegmentHeader, StreamHeader};
use docxy_protocol::prefetch::LayerSegment;
use docxy_protocol::request::Request;
use docxy_transport::ReceiveStream;

/// A stream for one segment of a layer.
#[derive(Debug)]
pub(crate) struct LayerStream {
    stream: ReceiveStream,
    _permit: SegmentPermit,
}

impl LayerStream {
    /// The permits of the streams for this request: of those that its hint allows, as many as one round trip holds and the
    /// window has room for. Says in the hint how many these are.
    pub(super) fn reserve(session: &Session, request: &mut Request) -> Vec<SegmentPermit> {
        let Some(hint) = request.prefetch.as_mut().filter(|hint| hint.layer_segments > 0) else {
            return Vec::new();
        };
        let share = session.segment_budget().share();
        share.observe(session.transport().path());
        let most = hint.layer_segments.min(share.round_trip_segments());
        let permits: Vec<_> = (0..most as usize).map_while(|own| share.open(own)).collect();
        // It is `most` at most.
        hint.layer_segments = permits.len() as u32;
        permits
    }

    /// Opens a stream for each permit.
    pub(super) async fn open(
        session: &Session,
        exchange: ExchangeId,
        permits: Vec<SegmentPermit>,
    ) -> Result<Vec<Self>, ExchangeError> {
        let mut streams = Vec::with_capacity(permits.len());
        for (n, permit) in (0..).zip(permits) {
            let header = StreamHeader::Segment(SegmentHeader { exchange, n });
            let stream = session.transport().open_finished(&header).await?;
            streams.push(Self { stream, _permit: permit });
        }
        Ok(streams)
    }

    /// What it carries.
    ///
    /// # Errors
    /// If it carries nothing, or the session is lost.
    pub(crate) async fn head(&mut self) -> Result<LayerSegment, ExchangeError> {
        Ok(self.stream.read_frame().await?)
    }

    /// The next bytes of the segment; `None` at its end.
    ///
    /// # Errors
    /// If the stream is interrupted.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        Ok(self.stream.read_chunk(READ_BYTES_MAX).await?)
    }

    /// Stops it. Returns how many bytes had arrived in vain.
    pub(crate) fn stop(self) -> u64 {
        self.stream.into_arrived().iter().map(|chunk| chunk.len() as u64).sum()
    }
}
