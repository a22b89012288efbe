//! The image of one platform, which an index may name, or an index in that index.

use super::error::PullError;
use super::image_source::{ImageSource, RegistryClient, VerifiedManifest, check};
use super::layout::RootManifest;
use docxy_protocol::manifest::{Descriptor, ImageManifest, Manifest};
use docxy_protocol::name::{Digest, Reference};
use std::collections::VecDeque;

/// Maximum number of indexes that are read for one image, and of their bytes. Real ones are at most one in another; with
/// this, a hostile registry keeps a pull busy for minutes and not for ever.
const INDEXES_MAX: usize = 1000;
const INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;

impl<A: RegistryClient> ImageSource<'_, A> {
    /// The image for the platform, and the digest of its reference: of the index, if it has one.
    pub(crate) async fn select(&self) -> Result<(Digest, RootManifest), PullError> {
        let top = self.manifest(self.reference()).await?;
        let asked_for = top.digest.clone();
        Ok((asked_for, self.resolve(top).await?))
    }

    /// The image for the platform, which an index names, or an index in that index. A direct match comes first;
    /// then the nested indexes without a platform are searched in order.
    async fn resolve(&self, top: VerifiedManifest) -> Result<RootManifest, PullError> {
        let (mut verified, mut chosen) = (top, None);
        let wanted = self.platform();
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
            verified = self.manifest(&Reference::Digest(entry.digest.clone())).await?;
            let what = format!("the manifest {}", entry.digest);
            let bytes = |count: u64| format!("{count} bytes");
            check(&what, bytes(entry.size), bytes(verified.bytes.len() as u64))?;
            chosen = Some(entry);
        }
        Err(PullError::TooManyIndexes { indexes: INDEXES_MAX, mib: INDEX_BYTES_MAX >> 20 })
    }
}

/// Config and layers, each once, with its kind. The largest come first, since they take longest.
pub(crate) fn blobs(manifest: &ImageManifest) -> Vec<(&'static str, &Descriptor)> {
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
    use docxy_protocol::digester::Digester;
    use docxy_protocol::image_name::ImageName;
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
        let image: ImageName = "alpine".parse().unwrap();
        let registry = FakeRegistry::new(responses);
        let error = ImageSource::new(&registry, &image, None, None).select().await.err().unwrap();
        assert!(matches!(error, PullError::TooManyIndexes { .. }), "{error}");
    }
}
