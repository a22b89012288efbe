//! The streams of exchanges, as typed writers: each is reset unless it was finished.
//!
//! Must never know what is sent, or where it comes from.

mod chunk_writer;
mod fair_queue;
mod open_streams;
mod prefetch_writer;
mod response_stream;
mod segment_streams;
mod undelivered;

pub(crate) use chunk_writer::ChunkWriter;
pub(crate) use fair_queue::{FairQueue, Turn};
pub(crate) use open_streams::OpenStreams;
pub(crate) use prefetch_writer::{PREFETCH_URGENCY, PrefetchWriter};
pub(crate) use response_stream::ResponseStream;
pub(crate) use segment_streams::{ExchangeSegments, SegmentStreams};
pub(crate) use undelivered::Undelivered;
