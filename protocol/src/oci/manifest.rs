//! Manifests and indexes in the formats of OCI and Docker.
//!
//! Must reject ambiguous documents: the same bytes must never be one image for Docxy and another one for
//! the engine (CVE-2021-41190).

use crate::accept::essence;
use crate::name::Digest;
use crate::platform::Platform;
use crate::text::{CleanText, clean};
use serde::Deserialize;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The supported media types, for `Accept`.
pub const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// Bytes of an image, at most: a pebibyte, a thousand times the largest images.
const IMAGE_BYTES_MAX: u64 = 1 << 50;

/// Why a document is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a required field is missing.
    #[error("it cannot be read: {0}")]
    Json(CleanText),
    /// Schema 1, which Docker replaced in 2016.
    #[error(
        "it is in Docker's format of before 2016 (schema 1), which has no verifiable config; \
             ask its publisher to push it again"
    )]
    Schema1,
    /// Neither an image nor an index, or both.
    #[error("it is neither an image nor an index of images")]
    UnknownFormat,
    /// The media type in the `Content-Type` or the document does not match the document.
    #[error("its media type is {0:?}, but it is not of that type")]
    MediaTypeMismatch(CleanText<255>),
    /// The sum of the sizes is impossible.
    #[error("its layers have more bytes than any disk")]
    TooLarge,
    /// A layer that must be fetched from other URLs, which Docxy does not do.
    #[error(
        "the registry does not distribute layer {0} (probably a base layer of Windows), and docxy fetches \
             from registries only"
    )]
    ForeignLayer(Digest),
}

/// A descriptor (OCI image spec): refers to content by its digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    #[serde(default)]
    urls: Vec<String>,
    /// The platform of the image, in an index.
    pub platform: Option<Platform>,
}

/// A document that a tag or a digest refers to.
#[derive(Debug)]
pub enum Manifest {
    /// An index: several images and their attachments.
    Index(Vec<Descriptor>),
    /// One image.
    Image(ImageManifest),
}

/// The manifest of one image.
#[derive(Debug)]
pub struct ImageManifest {
    /// The media type.
    pub media_type: &'static str,
    /// The config of the image.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// An image manifest or an index, before it is known which.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Manifest {
    /// Parses a document. `content_type` is the registry's `Content-Type`.
    ///
    /// # Errors
    /// If it is neither, or could be both.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(clean(error)))?;
        match document.schema_version {
            1 => return Err(ManifestError::Schema1),
            2 => {}
            _ => return Err(ManifestError::UnknownFormat),
        }
        let content_type = content_type.map(essence);
        let media_types = [document.media_type.as_deref(), content_type.as_deref()];
        match (document.manifests, document.config, document.layers) {
            (Some(entries), None, None) => {
                check_type(media_types, [OCI_INDEX, DOCKER_LIST])?;
                Ok(Self::Index(entries))
            }
            (None, Some(config), Some(layers)) => {
                let media_type = check_type(media_types, [OCI_MANIFEST, DOCKER_MANIFEST])?;
                if let Some(layer) = layers.iter().find(|layer| layer.is_foreign()) {
                    return Err(ManifestError::ForeignLayer(layer.digest.clone()));
                }
                // So that later sums fit into 64 bits.
                let size = layers.iter().try_fold(config.size, |sum, layer| sum.checked_add(layer.size));
                if size.is_none_or(|size| size > IMAGE_BYTES_MAX) {
                    return Err(ManifestError::TooLarge);
                }
                Ok(Self::Image(ImageManifest { media_type, config, layers }))
            }
            _ => Err(ManifestError::UnknownFormat),
        }
    }
}

impl Descriptor {
    /// Whether the content is an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        [OCI_INDEX, DOCKER_LIST].contains(&&*self.media_type)
    }

    /// Whether the content must be fetched from other URLs.
    fn is_foreign(&self) -> bool {
        let is_restricted = [".foreign.", ".nondistributable."].iter().any(|w| self.media_type.contains(w));
        is_restricted && !self.urls.is_empty()
    }
}

/// The media type of the document, which must be one of `allowed`. Some registries send `application/json`
/// or none; then it is the first of `allowed`.
fn check_type(
    media_types: [Option<&str>; 2],
    allowed: [&'static str; 2],
) -> Result<&'static str, ManifestError> {
    let supported = media_types.into_iter().flatten().filter(|name| MEDIA_TYPES.contains(name));
    let mut found = None;
    for name in supported {
        match allowed.into_iter().find(|allowed| *allowed == name) {
            Some(name) => found = found.or(Some(name)),
            None => return Err(ManifestError::MediaTypeMismatch(name.into())),
        }
    }
    Ok(found.unwrap_or(allowed[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": format!("sha256:{:064}", 1), "size": 1 })
    }

    fn image() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
        })
    }

    fn parse(document: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(document.to_string().as_bytes(), content_type)
    }

    #[test]
    fn image_and_index_are_distinguished_by_their_fields() {
        let mut nameless = image();
        nameless.as_object_mut().unwrap().remove("mediaType");
        for (document, content_type, expected) in [
            (image(), Some(OCI_MANIFEST), OCI_MANIFEST),
            (image(), Some("application/json"), OCI_MANIFEST),
            (nameless.clone(), Some(&*format!("{DOCKER_MANIFEST}; charset=utf-8")), DOCKER_MANIFEST),
            (nameless, None, OCI_MANIFEST),
        ] {
            let Ok(Manifest::Image(manifest)) = parse(&document, content_type) else { panic!() };
            assert_eq!((manifest.layers.len(), manifest.media_type), (1, expected));
        }
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)] });
        assert!(matches!(parse(&index, Some("application/json")), Ok(Manifest::Index(_))));
    }

    #[test]
    fn an_ambiguous_document_is_rejected() {
        let mut both = image();
        both["manifests"] = json!([]);
        assert_eq!(parse(&both, None).unwrap_err(), ManifestError::UnknownFormat);
        let wrong = ManifestError::MediaTypeMismatch(OCI_INDEX.into());
        assert_eq!(parse(&image(), Some(OCI_INDEX)).unwrap_err(), wrong);
        let mut liar = image();
        liar["mediaType"] = json!(OCI_INDEX);
        assert_eq!(parse(&liar, Some(OCI_MANIFEST)).unwrap_err(), wrong);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_rejected_with_a_reason() {
        let mut windows = image();
        windows["layers"][0] = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(parse(&windows, None).is_ok(), "the registry may have it");
        windows["layers"][0]["urls"] = json!(["https://example.com/layer"]);
        let error = parse(&windows, None).unwrap_err().to_string();
        assert!(error.contains("does not distribute"), "{error}");
        let mut huge = image();
        huge["layers"][0]["size"] = json!(u64::MAX);
        assert_eq!(parse(&huge, None).unwrap_err(), ManifestError::TooLarge);
        let old = json!({ "schemaVersion": 1, "name": "a", "fsLayers": [] });
        assert_eq!(parse(&old, None).unwrap_err(), ManifestError::Schema1);
        assert!(matches!(Manifest::parse(b"<html>", None), Err(ManifestError::Json(_))));
    }
}
