//! Brings blobs to the disk before an engine asks for them.
//!
//! Must never delay what an engine waits for: it is requested in the background.

use crate::gateway::Gateway;
use crate::transfer::{Transfer, TransferEvent};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use futures_util::stream::TryStreamExt as _;
use std::pin::pin;
use std::time::Instant;

/// How often a blob is read to its end, at most. A disk that is too slow leaves parts out, which the next time brings.
const PASSES_MAX: usize = 3;

/// Why a blob is not on the disk. The text is for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("{0}")]
    Fault(Fault),
    #[error(
        "it is private, and only public layers are kept; cache_private = true in the config file keeps private ones"
    )]
    Private,
    #[error("the disk took only part of it: it is too slow, or has no room")]
    NotTaken,
}

impl Gateway {
    /// Brings the blob that the request is for, and whose size an image names, to the disk. Calls `arrived` with the number of
    /// bytes each time that some more are there, and `waits` with the reason if they do not come. Returns how many were
    /// missing.
    pub(crate) async fn keep_blob(
        &self,
        request: Request,
        size: u64,
        arrived: impl Fn(u64),
        waits: impl Fn(Option<String>),
    ) -> Result<u64, KeepError> {
        let blobs = self.context.blobs.as_ref().ok_or(KeepError::NotTaken)?;
        let request = request.in_background();
        if size == 0 || self.context.metadata.cached_content(&request, Instant::now()).await.is_some() {
            arrived(size);
            return Ok(0);
        }
        if blobs.key(&request).is_none() {
            return Err(KeepError::Private);
        }
        let (mut told, mut fetched) = (0, 0);
        for _ in 0..PASSES_MAX {
            let Some(reader) = self.stored(&request, &(0..size)).await else {
                let detail = "the registry does not give it to us, or it has another size";
                return Err(KeepError::Fault(Fault::new(Hop::Registry, FaultKind::Mismatch, detail)));
            };
            let stored = reader.stored().clone();
            let missing: u64 = stored.missing(0..size).iter().map(|part| part.end - part.start).sum();
            if missing == 0 {
                arrived(size - told);
                return Ok(fetched);
            }
            fetched += missing;
            let transfer = Transfer::of_shared(&self.context, reader, self.begin_own(&request));
            let mut events = pin!(transfer.events());
            let (mut at, mut is_waiting) = (0, false);
            while let Some(event) = events.try_next().await.map_err(KeepError::Fault)? {
                match event {
                    TransferEvent::Bytes(bytes) => {
                        if std::mem::take(&mut is_waiting) {
                            waits(None);
                        }
                        at += bytes.len() as u64;
                        arrived(at.saturating_sub(told));
                        told = told.max(at);
                    }
                    TransferEvent::Waits(reason) => {
                        is_waiting = reason.is_some();
                        waits(reason);
                    }
                }
            }
            // What it could not write is missing then.
            blobs.store().flush().await;
            if stored.is_whole() {
                return Ok(fetched);
            }
        }
        Err(KeepError::NotTaken)
    }
}
