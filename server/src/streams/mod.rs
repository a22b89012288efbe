//! The streams of exchanges, as typed writers: each is reset unless it was finished.
//!
//! Must never know what is sent, or where it comes from.

mod chunk_writer;
mod prefetch_writer;
mod priorities;
mod response_stream;
mod segment_streams;

pub(crate) use chunk_writer::ChunkWriter;
pub(crate) use prefetch_writer::PrefetchWriter;
pub(crate) use priorities::Priorities;
pub(crate) use response_stream::ResponseStream;
pub(crate) use segment_streams::{ExchangeSegments, SegmentStreams};
