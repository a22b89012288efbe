//! What comes behind an answer: the items of a wish, one after the other.
//!
//! Bounded in number and in bytes, whatever the server announces. Nothing is checked here but that.

use super::broken::Broken;
use super::pieces::Pieces;
use bytes::{Bytes, BytesMut};
use docxy_protocol::limits::{PREFETCH_BYTES_MAX, PREFETCH_ITEMS_MAX};
use docxy_protocol::prefetch::PrefetchItem;
use std::fmt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The items behind one answer. Dropping it stops them at their source.
pub(crate) struct Behind {
    stage: Stage,
    items: usize,
    bytes: usize,
}

/// How far the answer has got.
enum Stage {
    /// Its body is on the way to its reader, who hands over the stream behind it.
    Body(oneshot::Receiver<Rest>),
    Items(Rest),
}

/// An answering stream behind its body, which has its place until it ends.
pub(super) struct Rest {
    pub(super) pieces: Pieces,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

impl Behind {
    /// Behind an answer without a body.
    pub(super) fn head(rest: Rest) -> Self {
        Self { stage: Stage::Items(rest), items: 0, bytes: 0 }
    }

    /// Behind a body, whose reader sends the stream when all of that has come.
    pub(super) fn body() -> (oneshot::Sender<Rest>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self { stage: Stage::Body(receiver), items: 0, bytes: 0 })
    }

    /// Waits until the body in front has come; false where it never will.
    pub(crate) async fn begins(&mut self) -> bool {
        if let Stage::Body(receiver) = &mut self.stage {
            let Ok(rest) = receiver.await else { return false };
            self.stage = Stage::Items(rest);
        }
        true
    }

    /// The next item, `None` behind the last.
    ///
    /// # Errors
    /// Where the stream breaks, or brings more than agreed.
    pub(crate) async fn next(&mut self) -> Result<Option<(PrefetchItem, Bytes)>, Broken> {
        if !self.begins().await {
            return Ok(None);
        }
        let Stage::Items(rest) = &mut self.stage else { return Ok(None) };
        let Some(item) = rest.pieces.item().await? else { return Ok(None) };
        self.items += 1;
        self.bytes += item.length();
        if self.items > PREFETCH_ITEMS_MAX || self.bytes > PREFETCH_BYTES_MAX {
            return Err(Broken::wrong("more comes ahead than agreed"));
        }
        let mut content = BytesMut::new();
        while content.len() < item.length() {
            content.extend_from_slice(&rest.pieces.raw(item.length() - content.len()).await?);
        }
        Ok(Some((item, content.freeze())))
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind")
            .field("items", &self.items)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
