//! Bytes of a body that arrived before its connection was lost.

use crate::tunnel::SegmentPermit;
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes that arrived before the loss of the connection and were not read.
#[derive(Debug)]
pub(crate) struct BufferedRange {
    /// The position of the first byte in the body.
    pub(crate) at: u64,
    /// The bytes, without a gap.
    pub(crate) chunks: VecDeque<Bytes>,
    /// The permit of their segment.
    pub(crate) permit: Option<SegmentPermit>,
}
