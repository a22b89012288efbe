//! Runs one pull: selects the image, downloads its blobs concurrently, and publishes the result.

use super::PullRequest;
use super::blob::download;
use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient, VerifiedManifest, check};
use super::layout::{self, RootManifest};
use super::progress::Progress;
use super::staged_image::{EntryWriter, StagedImage};
use super::tar_plan::TarEntry;
use docxy_protocol::manifest::{Descriptor, ImageManifest, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::platform::Platform;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use indicatif::BinaryBytes;
use std::collections::VecDeque;
use std::io;
use std::time::Instant;

/// Maximum number of concurrent downloads. One uses the path; the others use its idle times.
const CONCURRENT_BLOBS: usize = 4;

/// Maximum number of indexes that are read for one image, and of their bytes. Real ones are at most one in another; with
/// this, a hostile registry keeps a pull busy for minutes and not for ever.
const INDEXES_MAX: usize = 1000;
const INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of bytes of a config that are parsed. Real ones have a few thousand.
const IMAGE_CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One pull.
pub(super) struct Pull<'a, A> {
    pub(super) pull_request: &'a PullRequest,
    pub(super) source: ImageSource<'a, A>,
    pub(super) progress: &'a Progress,
}

impl<A: RegistryClient> Pull<'_, A> {
    pub(super) async fn run(&self) -> Result<Digest, PullError> {
        let top = self.source.manifest(&self.pull_request.image.reference).await?;
        let asked_for = top.digest.clone();
        let image = self.resolve(top).await?;
        let mut blobs = blobs(&image.manifest);
        let bytes = blobs.iter().map(|(_, blob)| blob.size).sum();
        self.announce(&image, bytes);
        let began = Instant::now();
        let staged = self.begin(&image, &blobs).map_err(|e| self.disk(e))?;
        if image.platform.is_none() {
            // Without an index, only the config names the platform, so it is fetched first.
            let config = &image.manifest.config;
            let writer = self.fetch("config", config, &staged).await?;
            let content =
                writer.read(config.size.min(IMAGE_CONFIG_BYTES_MAX) as usize).map_err(|e| self.disk(e))?;
            self.check_platform(&content)?;
            blobs.retain(|(_, blob)| blob.digest != config.digest);
        }
        iter(blobs)
            .map(|(kind, blob)| self.fetch(kind, blob, &staged))
            .buffer_unordered(CONCURRENT_BLOBS)
            .try_for_each(async |_| Ok(()))
            .await?;
        staged.publish(&self.pull_request.destination)?;
        self.progress.end(bytes, began.elapsed());
        Ok(asked_for)
    }

    /// The image for the platform, which an index names, or an index in that index. A direct match comes first;
    /// then the nested indexes without a platform are searched in order.
    async fn resolve(&self, top: VerifiedManifest) -> Result<RootManifest, PullError> {
        let (mut verified, mut chosen) = (top, None);
        let wanted = self.pull_request.platform.clone().unwrap_or_else(Platform::local);
        let (mut offered, mut nested, mut read) = (Vec::new(), VecDeque::new(), 0);
        for _ in 0..INDEXES_MAX {
            let VerifiedManifest { digest, bytes, manifest } = verified;
            read += bytes.len();
            if read > INDEX_BYTES_MAX {
                break;
            }
            let entry = match manifest {
                Manifest::Image(manifest) => {
                    let platform = chosen.and_then(|entry: Descriptor| entry.platform);
                    return Ok(RootManifest { digest, bytes, manifest, platform });
                }
                Manifest::Index(entries) => match wanted.choose(&entries) {
                    Ok(entry) => entry.clone(),
                    Err(_) => {
                        let is_nested = |entry: &&Descriptor| entry.is_index() && entry.platform.is_none();
                        nested.extend(entries.iter().filter(is_nested).cloned());
                        offered.extend(entries);
                        let Some(entry) = nested.pop_front() else {
                            wanted.choose(&offered)?;
                            break;
                        };
                        entry
                    }
                },
            };
            verified = self.source.manifest(&Reference::Digest(entry.digest.clone())).await?;
            let what = format!("the manifest {}", entry.digest);
            let bytes = |count: u64| format!("{count} bytes");
            check(&what, bytes(entry.size), bytes(verified.bytes.len() as u64))?;
            chosen = Some(entry);
        }
        Err(PullError::TooManyIndexes { indexes: INDEXES_MAX, mib: INDEX_BYTES_MAX >> 20 })
    }

    /// Creates all files, and writes the known ones.
    fn begin(&self, image: &RootManifest, blobs: &[(&str, &Descriptor)]) -> io::Result<StagedImage> {
        let files = layout::files(&self.pull_request.image, image);
        let known =
            files.iter().map(|file| TarEntry { path: file.path.clone(), size: file.content.len() as u64 });
        let coming =
            blobs.iter().map(|(_, blob)| TarEntry { path: layout::blob_path(&blob.digest), size: blob.size });
        let staged = StagedImage::begin(&self.pull_request.destination, known.chain(coming).collect())?;
        for file in &files {
            staged.writer(&file.path)?.write(0, &file.content)?;
        }
        Ok(staged)
    }

    async fn fetch(
        &self,
        kind: &str,
        blob: &Descriptor,
        staged: &StagedImage,
    ) -> Result<EntryWriter, PullError> {
        let writer = staged.writer(&layout::blob_path(&blob.digest)).map_err(|e| self.disk(e))?;
        let mut progress = self.progress.blob(kind, &blob.digest, blob.size);
        download(&self.source, blob, writer, &mut progress).await
    }

    /// Without an index there is no choice: another platform than requested is an error. Another one than
    /// that of this machine may be wanted.
    fn check_platform(&self, config: &[u8]) -> Result<(), PullError> {
        // Configs of artifacts name no platform.
        let Ok(found) = serde_json::from_slice::<Platform>(config) else {
            return Ok(());
        };
        match &self.pull_request.platform {
            Some(wanted) if wanted.match_rank(&found).is_none() => {
                Err(PullError::OtherPlatform { wanted: wanted.to_string(), found: found.to_string() })
            }
            None if Platform::local().match_rank(&found).is_none() => {
                self.progress.print(&format!("note: the image is for {found} only"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn announce(&self, image: &RootManifest, bytes: u64) {
        let platform = image.platform.as_ref().map(|platform| format!("{platform}, ")).unwrap_or_default();
        let layers = image.manifest.layers.len();
        let s = if layers == 1 { "" } else { "s" };
        self.progress.print(&format!("{platform}{layers} layer{s}, {} in all", BinaryBytes(bytes)));
        self.progress.begin(bytes);
    }

    fn disk(&self, source: io::Error) -> PullError {
        let destination = &self.pull_request.destination;
        let path = if destination.is_stdout() { destination.directory() } else { destination.path.clone() };
        PullError::write(&path, source)
    }
}

/// Config and layers, each once, with its kind. The largest come first, since they take longest.
fn blobs(manifest: &ImageManifest) -> Vec<(&'static str, &Descriptor)> {
    let mut all: Vec<(&str, &Descriptor)> = vec![("config", &manifest.config)];
    for layer in &manifest.layers {
        if all.iter().all(|(_, known)| known.digest != layer.digest) {
            all.push(("layer", layer));
        }
    }
    all.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.size));
    all
}

#[cfg(test)]
mod tests {
    use super::super::fake_registry::{FakeRegistry, response};
    use super::*;
    use crate::pull::Destination;
    use docxy_protocol::digester::Digester;
    use serde_json::json;

    #[tokio::test]
    async fn indexes_without_end_are_an_error() {
        let (mut index, mut responses) = (json!({ "schemaVersion": 2, "manifests": [] }), Vec::new());
        for _ in 0..=INDEXES_MAX {
            let text = index.to_string();
            let digest = Digester::sha256().digest(text.as_bytes());
            let media_type = "application/vnd.oci.image.index.v1+json";
            let entry = json!({ "mediaType": media_type, "digest": digest, "size": text.len() });
            index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [entry] });
            responses.push(response(200, &text));
        }
        responses.push(response(200, &index.to_string()));
        responses.reverse();
        let dir = tempfile::tempdir().unwrap();
        let destination = Destination::new(dir.path().join("image.tar"), false).unwrap();
        let image = "alpine".parse().unwrap();
        let pull_request = PullRequest { image, platform: None, login: None, destination };
        let registry = FakeRegistry::new(responses);
        let source = ImageSource::new(&registry, &pull_request.image, None, None);
        let pull = Pull { pull_request: &pull_request, source, progress: &Progress::quiet() };
        let error = pull.run().await.unwrap_err();
        assert!(matches!(error, PullError::TooManyIndexes { .. }), "{error}");
    }
}
