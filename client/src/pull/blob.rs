//! Downloads one blob to the disk. The connection resumes it, and a thread hashes and writes it.
//!
//! Must never accept a blob that does not match its digest, whoever sent it. The queue to the thread is short, so that a
//! slow disk slows the transfer.

use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient};
use super::progress::BlobProgress;
use super::staged_image::EntryWriter;
use crate::gateway::TransferEvent;
use crate::transfer::mismatch;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::manifest::Descriptor;
use docxy_protocol::name::Digest;
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
    let digester = Digester::matching(&blob.digest);
    let writing =
        tokio::task::spawn_blocking(move || write(&writer, reads, digester).map(|found| (writer, found)));
    let failed = |fault| PullError::Fault { what: what.clone(), fault };
    while let Some(event) = events.try_next().await.map_err(failed)? {
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
    let (writer, found) = written.map_err(|source| PullError::WriteBlob { what: what.clone(), source })?;
    if found != blob.digest {
        return Err(failed(mismatch(&blob.digest, &found, blob.size)));
    }
    progress.done();
    Ok(writer)
}

/// Writes all reads. Returns the digest of their bytes.
fn write(
    writer: &EntryWriter,
    mut queue: mpsc::Receiver<Bytes>,
    mut digester: Digester,
) -> io::Result<Digest> {
    let mut position = 0;
    let mut reads = Vec::with_capacity(QUEUE_CAPACITY);
    let mut buffer = Vec::new();
    // All reads in the queue become one write: packets are much smaller than good disk writes.
    while queue.blocking_recv_many(&mut reads, QUEUE_CAPACITY) > 0 {
        for bytes in reads.drain(..) {
            buffer.extend_from_slice(&bytes);
        }
        digester.update(&buffer);
        writer.write(position, &buffer)?;
        position += buffer.len() as u64;
        buffer.clear();
    }
    Ok(digester.finish())
}

#[cfg(test)]
mod tests {
    use super::super::destination::Destination;
    use super::super::fake_registry::FakeRegistry;
    use super::super::progress::Progress;
    use super::super::staged_image::StagedImage;
    use super::super::tar_plan::TarEntry;
    use super::*;
    use docxy_protocol::image_name::ImageName;
    use serde_json::json;

    #[tokio::test]
    async fn a_blob_is_written_to_its_place_if_it_is_the_right_one() {
        let content = "0123456789".repeat(100_000);
        let digest = Digester::sha256().digest(content.as_bytes());
        let blob = json!({ "mediaType": "m", "digest": digest, "size": content.len() });
        let blob: Descriptor = serde_json::from_value(blob).unwrap();
        for sent in [content.clone(), content.replace("9012", "9021")] {
            let dir = tempfile::tempdir().unwrap();
            let destination = Destination::new(dir.path().join("image.tar"), false).unwrap();
            let entries = ["before", "blob"].map(|path| TarEntry { path: path.into(), size: blob.size });
            let staged = StagedImage::begin(&destination, entries.to_vec()).unwrap();
            let registry = FakeRegistry::with_blob(&sent);
            let image: ImageName = "alpine".parse().unwrap();
            let source = ImageSource::new(&registry, &image, None);
            let progress = Progress::quiet();
            let mut progress = progress.blob("layer", &digest, blob.size);
            let writer = staged.writer("blob").unwrap();
            match download(&source, &blob, writer, &mut progress).await {
                Ok(writer) => assert_eq!(writer.read(content.len()).unwrap(), sent.as_bytes()),
                Err(error) => {
                    assert!(sent != content && error.to_string().contains("CDN: the blob"), "{error}");
                }
            }
        }
    }
}
