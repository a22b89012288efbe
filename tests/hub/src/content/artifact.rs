//! Artifacts that refer to an image: attestations, signatures, SBOMs.
//! Must never change the image.

use serde_json::json;

use crate::content::{
    blob::{Blob, Digest},
    image::{Manifest, descriptor, media_type},
};

/// A manifest with a `subject`, and its blobs.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The artifact type, by which the referrers API filters.
    pub artifact_type: String,
    /// The manifest that it refers to.
    pub subject: Digest,
    /// Its own manifest.
    pub manifest: Manifest,
    /// The empty config and the payload.
    pub blobs: Vec<Blob>,
}

impl Artifact {
    /// An artifact with one payload that refers to `subject`.
    pub fn about(subject: &Manifest, artifact_type: &str, payload: &[u8]) -> Self {
        let config = Blob::from_bytes(&b"{}"[..]);
        let layer = Blob::from_bytes(payload.to_vec());
        let manifest = Manifest::of_json(
            media_type::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": media_type::OCI_MANIFEST,
                "artifactType": artifact_type,
                "config": descriptor("application/vnd.oci.empty.v1+json", config.digest(), config.len()),
                "layers": [descriptor(artifact_type, layer.digest(), layer.len())],
                "subject": descriptor(subject.media_type, &subject.digest, subject.bytes.len() as u64),
            }),
        );
        Self {
            artifact_type: artifact_type.to_owned(),
            subject: subject.digest.clone(),
            manifest,
            blobs: vec![config, layer],
        }
    }
}
