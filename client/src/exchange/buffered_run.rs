//! Bytes that arrived over a session that was lost.

use crate::tunnel::SegmentPermit;
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes of a body that arrived before the session was lost, and were not read.
#[derive(Debug)]
pub(crate) struct BufferedRun {
    /// The bytes before it that did not arrive, since the run before it.
    pub(crate) gap: u64,
    /// Its bytes, without a gap.
    pub(crate) chunks: VecDeque<Bytes>,
    /// The permit of their segment.
    pub(crate) permit: Option<SegmentPermit>,
}
