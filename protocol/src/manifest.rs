//! Manifests and indexes, as OCI and Docker write them.
//!
//! Read strictly where two readings are possible: the same bytes must never be one image to us and
//! another to the engine that loads them (CVE-2021-41190).

use crate::name::Digest;
use crate::platform::Platform;
use crate::text::{CleanText, clean};
use serde::Deserialize;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What we can read, for `Accept`.
pub const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// Most bytes of an image: a petabyte, a thousand times the largest ones.
const IMAGE_BYTES_MAX: u64 = 1 << 50;

/// Why a document is not one of these.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or something is missing.
    #[error("it cannot be read: {0}")]
    Json(CleanText),
    /// From before 2016.
    #[error(
        "it is in Docker's format of before 2016 (schema 1), which has no verifiable config; \
             ask whoever publishes the image to push it again"
    )]
    Schema1,
    /// UnknownFormat or both.
    #[error("it is neither an image nor an index of images")]
    UnknownFormat,
    /// Header, field and content don't agree.
    #[error("it is called {0:?} but is not")]
    MediaTypeMismatch(CleanText<255>),
    /// No such image can exist.
    #[error("its layers would have more bytes than any disk")]
    TooLarge,
    /// The content is elsewhere, and must not be taken from there.
    #[error(
        "layer {0} is one that its registry does not distribute (a base layer of Windows, most \
             likely); docxy fetches from registries only"
    )]
    ForeignLayer(Digest),
}

/// Points at content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is called.
    pub media_type: String,
    /// What it hashes to.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default)]
    urls: Vec<String>,
    /// What an index says that it is for.
    pub platform: Option<Platform>,
}

/// What a tag or a digest may name.
#[derive(Debug)]
pub enum Manifest {
    /// Several images, and what goes with them.
    Index(Vec<Descriptor>),
    /// One image.
    Image(ImageManifest),
}

/// What makes up one image.
#[derive(Debug)]
pub struct ImageManifest {
    /// What it is called.
    pub media_type: &'static str,
    /// What tells how to run it.
    pub config: Descriptor,
    /// What it consists of, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// Any of them, before it is known which.
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
    /// Reads a document. `content_type` is what the registry calls it.
    ///
    /// # Errors
    /// Where it is neither, or could be read as both.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(clean(error)))?;
        match document.schema_version {
            1 => return Err(ManifestError::Schema1),
            2 => {}
            _ => return Err(ManifestError::UnknownFormat),
        }
        // A parameter such as a charset is of no consequence here.
        let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let called = [document.media_type.as_deref(), content_type];
        match (document.manifests, document.config, document.layers) {
            (Some(entries), None, None) => {
                check_type(called, [OCI_INDEX, DOCKER_LIST])?;
                Ok(Self::Index(entries))
            }
            (None, Some(config), Some(layers)) => {
                let media_type = check_type(called, [OCI_MANIFEST, DOCKER_MANIFEST])?;
                if let Some(layer) = layers.iter().find(|layer| layer.is_foreign()) {
                    return Err(ManifestError::ForeignLayer(layer.digest.clone()));
                }
                // Whatever is added up later stays within 64 bits.
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
    /// Whether the content is to be had at other URLs only.
    fn is_foreign(&self) -> bool {
        let is_restricted = [".foreign.", ".nondistributable."].iter().any(|w| self.media_type.contains(w));
        is_restricted && !self.urls.is_empty()
    }
}

/// What calls itself something must be that. Registries that know no better say `application/json`
/// or nothing; then it is the first of the `right` ones.
fn check_type(called: [Option<&str>; 2], right: [&'static str; 2]) -> Result<&'static str, ManifestError> {
    let known = called.into_iter().flatten().filter(|name| MEDIA_TYPES.contains(name));
    let mut found = None;
    for name in known {
        match right.into_iter().find(|right| *right == name) {
            Some(name) => found = found.or(Some(name)),
            None => return Err(ManifestError::MediaTypeMismatch(name.into())),
        }
    }
    Ok(found.unwrap_or(right[0]))
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
    fn an_image_and_an_index_are_told_apart_by_what_is_in_them() {
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
    fn a_document_with_two_readings_is_refused() {
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
    fn what_cannot_be_pulled_is_refused_with_its_reason() {
        let mut windows = image();
        windows["layers"][0] = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(parse(&windows, None).is_ok(), "the registry may have it all the same");
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
