//! Writes the stand-in's images as OCI layouts, for registries and engines.
//! Must never change a byte.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use hub_stand_in::Image;
use serde_json::json;

/// Writes `image` into `folder` as an OCI layout with all platforms.
pub(crate) fn write_layout(image: &Image, folder: &Path) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    for blob in image.blobs() {
        let bytes: Vec<u8> = blob.chunks().flatten().collect();
        fs::write(path_in(&blobs, blob.digest().as_str())?, bytes)?;
    }
    for manifest in image.manifests() {
        fs::write(path_in(&blobs, manifest.digest.as_str())?, &manifest.bytes)?;
    }
    let top = image.index();
    let entry =
        json!({ "mediaType": top.media_type, "digest": top.digest.as_str(), "size": top.bytes.len() });
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())?;
    fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

fn path_in(blobs: &Path, digest: &str) -> Result<PathBuf> {
    Ok(blobs.join(digest.strip_prefix("sha256:").context("not a sha256 digest")?))
}
