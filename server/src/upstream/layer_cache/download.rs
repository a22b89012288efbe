//! The body of a blob: from its registry, or from the disk, and then only what is missing there from its registry.
//!
//! Must never leave out a byte: what the disk has lost since is fetched.

use crate::upstream::blob::download;
use crate::upstream::error::UpstreamError;
use crate::upstream::registry::authorized_registry::AuthorizedRegistry;
use crate::upstream::registry::blob_source::BlobSource;
use crate::upstream::registry::response::ResponseBody;
use bytes::Bytes;
use docxy_host::blob_store::StoredBlob;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::gaps::gaps;
use docxy_protocol::request::Request;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one read from the disk.
const READ_BYTES_MAX: usize = 64 * 1024;

/// What is fetched again if the disk has bytes that it cannot read.
const UNREADABLE_BYTES: u64 = 256 * 1024;

/// A body that comes from a registry alone.
pub(crate) type Remote = download::Download<BlobSource>;

/// The streaming body of a response.
#[derive(Debug)]
pub(crate) enum Download {
    /// From its registry.
    Remote(Box<Remote>),
    /// From the disk, as far as that has it.
    Cached(Box<CachedDownload>),
}

/// A body of which the disk has a part, and gets the rest.
#[derive(Debug)]
pub(crate) struct CachedDownload {
    pub(super) stored: StoredBlob,
    /// From its next byte to its last.
    pub(super) bytes: Range<u64>,
    /// The position of the next byte of a body from the registry.
    pub(super) remote: Option<(u64, Remote)>,
    pub(super) registry: Arc<AuthorizedRegistry>,
    pub(super) request: Request,
    pub(super) bytes_served: Arc<AtomicU64>,
}

impl Remote {
    /// That of a response, if it is one.
    pub(super) fn of(body: ResponseBody) -> Option<Self> {
        let ResponseBody::Stream(download) = body else { return None };
        if let Download::Remote(remote) = *download { Some(*remote) } else { None }
    }
}

impl Download {
    /// The length in bytes, if the sender announced it. Unknown is not zero.
    #[must_use]
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Remote(remote) => remote.length(),
            Self::Cached(cached) => Some(cached.bytes.end - cached.bytes.start),
        }
    }

    /// The next bytes; `None` at the end of a whole body.
    ///
    /// # Errors
    /// If the transfer is interrupted or stalls, and cannot be resumed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        match self {
            Self::Remote(remote) => remote.next().await,
            // Boxed, since it would be most of an exchange's task.
            Self::Cached(cached) => Box::pin(cached.next()).await,
        }
    }
}

impl CachedDownload {
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let at = self.bytes.start;
            if let Some((_, remote)) = self.remote.as_mut().filter(|(position, _)| *position == at) {
                match remote.next().await? {
                    Some(bytes) => {
                        self.stored.write(at, bytes.clone());
                        self.sends(&bytes);
                        if let Some((position, _)) = &mut self.remote {
                            *position = self.bytes.start;
                        }
                        return Ok(Some(bytes));
                    }
                    None => self.remote = None,
                }
            }
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let left = usize::try_from(self.bytes.end - at).unwrap_or(usize::MAX);
            if let Some(bytes) = self.stored.read(at, READ_BYTES_MAX.min(left)).await {
                self.sends(&bytes);
                self.bytes_served.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                return Ok(Some(bytes));
            }
            let gap = first_gap(&self.stored, &self.bytes).filter(|gap| gap.start == at);
            let gap = gap.unwrap_or(at..self.bytes.end.min(at + UNREADABLE_BYTES));
            let range = ContentRange::new(gap, Some(self.stored.size()));
            let range = range.ok_or_else(|| UpstreamError::internal("this range is not in its blob"))?;
            let source = BlobSource::new(Arc::clone(&self.registry), self.request.clone());
            self.remote = Some((at, Remote::fetch(source, range).await?));
        }
    }

    /// These are the next bytes. At the end, wrong content is found soon, and not only when no reader is left.
    fn sends(&mut self, bytes: &Bytes) {
        self.bytes.start += bytes.len() as u64;
        if self.bytes.is_empty() {
            self.stored.check();
        }
    }
}

/// The first part of these bytes to request from the registry; `None` if the disk has them all.
pub(super) fn first_gap(stored: &StoredBlob, bytes: &Range<u64>) -> Option<Range<u64>> {
    gaps(stored.missing(bytes.clone())).into_iter().next()
}
