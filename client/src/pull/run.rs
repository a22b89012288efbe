//! One pull from beginning to end: which image, then its blobs side by side, then its name.

use super::blob::download;
use super::draft::{Draft, Slot};
use super::layout::{self, Root};
use super::source::{Ask, Document, Source, SourceError};
use super::tar_plan::Entry;
use super::{Order, Progress, PullError};
use bytes::Bytes;
use docxy_protocol::manifest::{Descriptor, ImageManifest, Manifest};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::platform::Platform;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use indicatif::BinaryBytes;
use std::io;
use std::time::{Duration, Instant};

/// Blobs that are fetched at a time. One fills the line; the others are for its pauses.
const AT_A_TIME: usize = 4;

/// The pause before a broken transfer is taken up again, at first.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Most bytes of a config that are looked at. Real ones have a few thousand.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// One pull under way.
pub(super) struct Pull<'a, A> {
    pub(super) order: &'a Order,
    pub(super) source: Source<'a, A>,
    pub(super) progress: &'a Progress,
}

/// The image that was chosen.
struct Chosen {
    digest: Digest,
    bytes: Bytes,
    manifest: ImageManifest,
    /// What an index says that it is for.
    platform: Option<Platform>,
}

impl<A: Ask> Pull<'_, A> {
    pub(super) async fn run(&self) -> Result<Digest, PullError> {
        let top = self.source.manifest(&self.order.image.reference).await?;
        let asked_for = top.digest.clone();
        let image = self.choose(top).await?;
        let mut blobs = blobs(&image.manifest);
        let bytes = blobs.iter().map(|(_, blob)| blob.size).sum();
        self.announce(&image, bytes);
        let began = Instant::now();
        let draft = self.begin(&image, &blobs).map_err(|e| self.disk(e))?;
        if image.platform.is_none() {
            // Only its config tells what an image without an index is for, so that comes first.
            let config = &image.manifest.config;
            let slot = self.fetch("config", config, &draft).await?;
            let content = slot.read(config.size.min(MAX_CONFIG) as usize).map_err(|e| self.disk(e))?;
            self.check_platform(&content)?;
            blobs.retain(|(_, blob)| blob.digest != config.digest);
        }
        iter(blobs)
            .map(|(kind, blob)| self.fetch(kind, blob, &draft))
            .buffer_unordered(AT_A_TIME)
            .try_for_each(async |_| Ok(()))
            .await?;
        draft.publish(&self.order.destination).map_err(|e| self.disk(e))?;
        self.progress.end(bytes, began.elapsed());
        Ok(asked_for)
    }

    /// The image itself, where the name stands for an index.
    async fn choose(&self, top: Document) -> Result<Chosen, PullError> {
        let (document, platform) = match &top.manifest {
            Manifest::Image(_) => (top, None),
            Manifest::Index(entries) => {
                let wanted = self.order.platform.clone().unwrap_or_else(Platform::local);
                let entry = wanted.choose(entries)?;
                let document = self.source.manifest(&Reference::Digest(entry.digest.clone())).await?;
                if document.bytes.len() as u64 != entry.size {
                    return Err(size_mismatch(entry, document.bytes.len()).into());
                }
                (document, entry.platform.clone())
            }
        };
        let Document { digest, bytes, manifest } = document;
        match manifest {
            Manifest::Image(manifest) => Ok(Chosen { digest, bytes, manifest, platform }),
            Manifest::Index(_) => Err(PullError::Nested(digest)),
        }
    }

    /// Makes room for everything, and writes what is known already.
    fn begin(&self, image: &Chosen, blobs: &[(&str, &Descriptor)]) -> io::Result<Draft> {
        let Chosen { digest, bytes, manifest, platform } = image;
        let root = Root { digest, bytes, manifest, platform: platform.as_ref() };
        let files = layout::files(&self.order.image, &root);
        let known =
            files.iter().map(|file| Entry { path: file.path.clone(), size: file.content.len() as u64 });
        let coming =
            blobs.iter().map(|(_, blob)| Entry { path: layout::blob_path(&blob.digest), size: blob.size });
        let draft = Draft::begin(&self.order.destination, known.chain(coming).collect())?;
        for file in &files {
            draft.slot(&file.path)?.write(0, &file.content)?;
        }
        Ok(draft)
    }

    async fn fetch(&self, kind: &str, blob: &Descriptor, draft: &Draft) -> Result<Slot, PullError> {
        let slot = draft.slot(&layout::blob_path(&blob.digest)).map_err(|e| self.disk(e))?;
        let mut progress = self.progress.blob(kind, &blob.digest, blob.size);
        Ok(download(&self.source, blob, slot, RETRY_WAIT, &mut progress).await?)
    }

    /// An image without an index is what it is: another one than was asked for is an error, but
    /// one for another machine than this may be what the user wants.
    fn check_platform(&self, config: &[u8]) -> Result<(), PullError> {
        // Artifacts have configs that speak of no platform.
        let Ok(found) = serde_json::from_slice::<Platform>(config) else {
            return Ok(());
        };
        match &self.order.platform {
            Some(wanted) if wanted.match_rank(&found).is_none() => {
                Err(PullError::OtherPlatform { wanted: wanted.to_string(), found: found.to_string() })
            }
            None if Platform::local().match_rank(&found).is_none() => {
                self.progress.say(&format!("note: the image is for {found} only"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn announce(&self, image: &Chosen, bytes: u64) {
        let platform = image.platform.as_ref().map(|platform| format!("{platform}, ")).unwrap_or_default();
        let layers = image.manifest.layers.len();
        let s = if layers == 1 { "" } else { "s" };
        self.progress.say(&format!("{platform}{layers} layer{s}, {} in all", BinaryBytes(bytes)));
        self.progress.begin(bytes);
    }

    fn disk(&self, source: io::Error) -> PullError {
        PullError::Write { path: self.order.destination.path.clone(), source }
    }
}

/// Config and layers, each once, with a word for what it is. The largest come first: they take
/// longest, and the others fit in beside them.
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

fn size_mismatch(entry: &Descriptor, found: usize) -> SourceError {
    SourceError::Mismatch {
        what: format!("the manifest {}", entry.digest),
        expected: format!("{} bytes", entry.size),
        found: format!("{found} bytes"),
    }
}
