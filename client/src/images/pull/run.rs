//! Runs one pull: selects the image, downloads its blobs concurrently, and publishes the result.

use super::PullRequest;
use super::blob::download;
use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient};
use super::layout::{self, RootManifest};
use super::progress::Progress;
use super::selected_image;
use super::staged_image::{EntryWriter, StagedImage};
use super::tar_plan::TarEntry;
use docxy_protocol::manifest::Descriptor;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use indicatif::BinaryBytes;
use std::io;
use std::time::Instant;

/// Maximum number of concurrent downloads. One uses the path; the others use its idle times.
const CONCURRENT_BLOBS: usize = 4;

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
        let (asked_for, image) = self.source.select().await?;
        let mut blobs = selected_image::blobs(&image.manifest);
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
