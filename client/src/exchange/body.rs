//! An answer's body, pulled through one connection as fast as its reader takes it.
//!
//! It ends only where everything has come. What has arrived behind a break can be salvaged, and
//! must never be taken for more than it is. Dropping it stops the transfer at its source.

use super::behind::{Behind, Rest};
use super::broken::Broken;
use super::pieces::Pieces;
use super::segments::Segments;
use crate::tunnel::OpenSegment;
use bytes::Bytes;
use docxy_protocol::segment::SegmentLayout;
use quinn::RecvStream;
use std::collections::VecDeque;
use std::fmt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A body under way.
pub(crate) struct TunnelBody {
    length: Option<u64>,
    source: Source,
    /// Its place among the requests under way, until it is dropped.
    place: Option<OwnedSemaphorePermit>,
}

/// Where it comes from.
enum Source {
    Empty,
    /// The answering stream.
    Stream {
        pieces: Pieces,
        received: u64,
        /// Who takes the stream on when the body has come.
        behind: Option<oneshot::Sender<Rest>>,
    },
    Segments(Box<Segmented>),
}

/// Segments; the answering stream says at its end how it went.
struct Segmented {
    segments: Segments,
    layout: SegmentLayout,
    answer: Pieces,
}

/// Bytes that arrived before a break and were not read yet.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// Where they are in the body.
    pub(crate) at: u64,
    /// The bytes, without a gap.
    pub(crate) chunks: VecDeque<Bytes>,
    /// What they take of the window for large bodies.
    pub(crate) place: Option<OpenSegment>,
}

impl TunnelBody {
    pub(super) fn empty(place: Option<OwnedSemaphorePermit>) -> Self {
        Self { length: Some(0), source: Source::Empty, place }
    }

    pub(super) fn on_stream(
        stream: RecvStream,
        length: Option<u64>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let source = Source::Stream { pieces: Pieces::new(stream), received: 0, behind: None };
        Self { length, source, place }
    }

    /// One with items behind it.
    pub(super) fn before_items(
        stream: RecvStream,
        length: Option<u64>,
        place: Option<OwnedSemaphorePermit>,
    ) -> (Self, Behind) {
        let (sender, behind) = Behind::body();
        let source = Source::Stream { pieces: Pieces::new(stream), received: 0, behind: Some(sender) };
        (Self { length, source, place }, behind)
    }

    pub(super) fn in_segments(
        mut segments: Segments,
        layout: SegmentLayout,
        answer: RecvStream,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        segments.trim(layout);
        let segmented = Segmented { segments, layout, answer: Pieces::new(answer) };
        Self { length: Some(layout.length()), source: Source::Segments(Box::new(segmented)), place }
    }

    /// One that never comes, for those who only look at answers.
    #[cfg(test)]
    pub(crate) fn of_length(length: u64) -> Self {
        Self { length: Some(length), ..Self::empty(None) }
    }

    /// The length in bytes, where it is known. Unknown is not zero.
    #[must_use]
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, `None` at the end of a whole body.
    ///
    /// # Errors
    /// Where it broke, or is longer or shorter than announced.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match &mut self.source {
            Source::Empty => Ok(None),
            Source::Stream { pieces, received, .. } => match pieces.next().await? {
                Some(bytes) => {
                    *received += bytes.len() as u64;
                    if self.length.is_some_and(|length| *received > length) {
                        return Err(Broken::wrong("the body is longer than announced"));
                    }
                    if self.length == Some(*received) {
                        // Its reader may not come back for the end, which the length has told.
                        self.hand_over();
                    }
                    Ok(Some(bytes))
                }
                None if self.length.is_none_or(|length| length == *received) => {
                    self.hand_over();
                    Ok(None)
                }
                None => Err(Broken::wrong("the body ended early")),
            },
            Source::Segments(body) => body.next().await,
        }
    }

    /// Gives the stream behind a whole body to those who wait for it.
    fn hand_over(&mut self) {
        let Source::Stream { behind: waiting @ Some(_), .. } = &mut self.source else { return };
        let waiting = waiting.take();
        let place = self.place.take();
        if let (Some(waiting), Source::Stream { pieces, .. }) =
            (waiting, std::mem::replace(&mut self.source, Source::Empty))
        {
            // Dropped where nobody waits any more.
            let _ = waiting.send(Rest { pieces, _place: place });
        }
    }

    /// What has arrived and was not read, in order. Never waits.
    pub(crate) fn salvage(self) -> Vec<Salvaged> {
        match self.source {
            Source::Empty => Vec::new(),
            Source::Stream { pieces, received, .. } => {
                vec![Salvaged { at: received, chunks: pieces.arrived(), place: None }]
            }
            Source::Segments(body) => body.segments.salvage(body.layout),
        }
    }
}

impl Segmented {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.segments.next(self.layout, &mut self.answer).await? {
            Some(bytes) => Ok(Some(bytes)),
            // The server may have found at the very end that something is wrong.
            None => match self.answer.next().await? {
                None => Ok(None),
                Some(_) => Err(Broken::wrong("the body is longer than announced")),
            },
        }
    }
}

impl fmt::Debug for TunnelBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBody").field("length", &self.length).finish_non_exhaustive()
    }
}
