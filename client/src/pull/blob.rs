//! Downloads one blob to the disk. The transfer resumes and verifies it.

use super::blob_writer::BlobWriter;
use super::image_source::{ImageSource, RegistryClient, SourceError};
use super::progress::BlobProgress;
use super::staged_image::EntryWriter;
use docxy_protocol::manifest::Descriptor;
use std::io;

/// Why a blob was not downloaded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the name of the blob and the failure")]
pub enum BlobError {
    /// The registry refuses it, or sends something else.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The disk failed.
    #[error("writing {what}: {source}")]
    Write { what: String, source: io::Error },
}

/// Downloads a blob into `writer`, and returns that when the blob is complete and verified.
pub(super) async fn download<A: RegistryClient>(
    source: &ImageSource<'_, A>,
    blob: &Descriptor,
    writer: EntryWriter,
    progress: &mut BlobProgress<'_>,
) -> Result<EntryWriter, BlobError> {
    let what = format!("the blob {}", blob.digest);
    let mut body = source.blob(blob).await;
    let mut changes = body.watch();
    let mut blob_writer = BlobWriter::start(writer);
    loop {
        let next = tokio::select! {
            next = body.next() => next,
            Ok(()) = changes.changed() => {
                progress.waits(body.wait_reason());
                continue;
            }
        };
        match next.map_err(|fault| SourceError::Fault { what: what.clone(), fault })? {
            Some(bytes) => {
                progress.advance(bytes.len() as u64);
                if blob_writer.write(bytes).await.is_err() {
                    break;
                }
            }
            None => break,
        }
    }
    let writer = blob_writer.finish().await.map_err(|source| BlobError::Write { what, source })?;
    progress.done();
    Ok(writer)
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
