//! Downloads one blob to the disk. The transfer resumes and verifies it, and a thread writes it.
//!
//! Must never take a transfer that failed for a whole blob. The queue to the thread is short, so that a slow disk slows
//! the transfer.

use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient};
use super::progress::BlobProgress;
use super::staged_image::EntryWriter;
use crate::gateway::TransferEvent;
use bytes::Bytes;
use docxy_protocol::manifest::Descriptor;
use futures_util::stream::TryStreamExt as _;
use std::io;
use tokio::sync::mpsc;

/// Maximum number of reads in the queue, of at most 64 KiB each.
const QUEUE_CAPACITY: usize = 8;

/// Downloads a blob into `writer`, and returns that when the blob is complete and verified.
pub(super) async fn download<A: RegistryClient>(
    source: &ImageSource<'_, A>,
    blob: &Descriptor,
    writer: EntryWriter,
    progress: &mut BlobProgress<'_>,
) -> Result<EntryWriter, PullError> {
    let what = format!("the blob {}", blob.digest);
    let mut events = source.blob(blob);
    let (queue, reads) = mpsc::channel(QUEUE_CAPACITY);
    let writing = tokio::task::spawn_blocking(move || write(&writer, reads).map(|()| writer));
    while let Some(event) =
        events.try_next().await.map_err(|fault| PullError::Fault { what: what.clone(), fault })?
    {
        match event {
            TransferEvent::Waits(reason) => progress.waits(reason),
            TransferEvent::Bytes(bytes) => {
                progress.waits(None);
                progress.advance(bytes.len() as u64);
                if queue.send(bytes).await.is_err() {
                    // The thread ended early, and says why below.
                    break;
                }
            }
        }
    }
    drop(queue);
    // It panicked, or the runtime ends.
    let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let writer = written.map_err(|source| PullError::WriteBlob { what, source })?;
    progress.done();
    Ok(writer)
}

/// Writes all reads.
fn write(writer: &EntryWriter, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut position = 0;
    let mut reads = Vec::with_capacity(QUEUE_CAPACITY);
    let mut buffer = Vec::new();
    // All reads in the queue become one write: packets are much smaller than good disk writes.
    while queue.blocking_recv_many(&mut reads, QUEUE_CAPACITY) > 0 {
        for bytes in reads.drain(..) {
            buffer.extend_from_slice(&bytes);
        }
        writer.write(position, &buffer)?;
        position += buffer.len() as u64;
        buffer.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::destination::Destination;
    use super::super::fake_registry::FakeRegistry;
    use super::super::progress::Progress;
    use super::super::staged_image::StagedImage;
    use super::super::tar_plan::TarEntry;
    use super::*;
    use docxy_protocol::digester::Digester;
    use docxy_protocol::fault::{Fault, FaultKind, Hop};
    use docxy_protocol::image_name::ImageName;
    use serde_json::json;

    #[tokio::test]
    async fn a_blob_is_written_to_its_place_if_its_transfer_succeeds() {
        let content = "0123456789".repeat(100_000);
        let digest = Digester::sha256().digest(content.as_bytes());
        let blob = json!({ "mediaType": "m", "digest": digest, "size": content.len() });
        let blob: Descriptor = serde_json::from_value(blob).unwrap();
        let mismatch = Fault::new(Hop::Cdn, FaultKind::Mismatch, "the blob is another one");
        for end in [None, Some(mismatch)] {
            let dir = tempfile::tempdir().unwrap();
            let destination = Destination::new(dir.path().join("image.tar"), false).unwrap();
            let entries = ["before", "blob"].map(|path| TarEntry { path: path.into(), size: blob.size });
            let staged = StagedImage::begin(&destination, entries.to_vec()).unwrap();
            let registry = FakeRegistry::with_blob(&content, end.clone());
            let image: ImageName = "alpine".parse().unwrap();
            let source = ImageSource::new(&registry, &image, None, None);
            let progress = Progress::quiet();
            let mut progress = progress.blob("layer", &digest, blob.size);
            let writer = staged.writer("blob").unwrap();
            match download(&source, &blob, writer, &mut progress).await {
                Ok(writer) => {
                    assert!(end.is_none());
                    assert_eq!(writer.read(content.len()).unwrap(), content.as_bytes());
                }
                Err(error) => {
                    assert!(end.is_some() && error.to_string().contains("CDN: the blob"), "{error}");
                }
            }
        }
    }
}
