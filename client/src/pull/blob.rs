//! Downloads one blob to the disk. The transfer resumes and verifies it, and a thread writes it.
//!
//! The queue to the thread is short, so that a slow disk slows the transfer.

use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient};
use super::progress::BlobProgress;
use super::staged_image::EntryWriter;
use bytes::Bytes;
use docxy_protocol::manifest::Descriptor;
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
    let mut body = source.blob(blob).await;
    let mut changes = body.watch();
    let (queue, reads) = mpsc::channel(QUEUE_CAPACITY);
    let writing = tokio::task::spawn_blocking(move || write(&writer, reads).map(|()| writer));
    loop {
        let next = tokio::select! {
            next = body.next() => next,
            Ok(()) = changes.changed() => {
                progress.waits(body.wait_reason());
                continue;
            }
        };
        match next.map_err(|fault| PullError::Fault { what: what.clone(), fault })? {
            Some(bytes) => {
                progress.advance(bytes.len() as u64);
                if queue.send(bytes).await.is_err() {
                    // The thread ended early, and says why below.
                    break;
                }
            }
            None => break,
        }
    }
    drop(queue);
    // It panicked, or the runtime ends.
    let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let writer = written.map_err(|source| PullError::WriteBlob { what, source })?;
    progress.done();
    Ok(writer)
}

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
    use docxy_protocol::image_name::ImageName;
    use serde_json::json;

    #[tokio::test]
    async fn a_blob_is_written_to_its_place() {
        let content = "0123456789".repeat(100_000);
        let digest = Digester::sha256().digest(content.as_bytes());
        let blob = json!({ "mediaType": "m", "digest": digest, "size": content.len() });
        let blob: Descriptor = serde_json::from_value(blob).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let destination = Destination::new(dir.path().join("image.tar"), false).unwrap();
        let entries = ["before", "blob"].map(|path| TarEntry { path: path.into(), size: blob.size });
        let staged = StagedImage::begin(&destination, entries.to_vec()).unwrap();
        let registry = FakeRegistry::with_blob(&content);
        let image: ImageName = "alpine".parse().unwrap();
        let source = ImageSource::new(&registry, &image);
        let progress = Progress::quiet();
        let mut progress = progress.blob("layer", &digest, blob.size);
        let writer = download(&source, &blob, staged.writer("blob").unwrap(), &mut progress).await.unwrap();
        assert_eq!(writer.read(content.len()).unwrap(), content.as_bytes());
    }
}
