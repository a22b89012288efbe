//! A pulled image, in terms that all engines have, so that it can be compared.
//! Must never trust a digest that it can compute.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An image in an engine's store: equal only if all content is equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// The digest that the tag named: that of the index of a multi-arch image.
    pub digest: String,
    /// The digest of the config for this machine's platform (linux/amd64): the image id.
    pub config: String,
    /// The digests of the uncompressed layers, bottom first.
    pub layers: Vec<String>,
}

impl PulledImage {
    /// Reads an image from an engine's content store, from the tag's digest down to the config. `content` returns
    /// the bytes stored under a digest; they are checked against it.
    pub(super) fn from_store(top: &str, content: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let json = |digest: &str| -> Result<Value> {
            let bytes = content(digest)?;
            let found = digest_of(&bytes);
            ensure!(found == digest, "{digest} has content with the digest {found}");
            Ok(serde_json::from_slice(&bytes)?)
        };
        let mut manifest = json(top)?;
        if let Some(entries) = manifest["manifests"].as_array() {
            let platform = entries.iter().find(|entry| {
                entry["platform"]["os"] == "linux" && entry["platform"]["architecture"] == "amd64"
            });
            manifest = json(text(&platform.context("the index has no linux/amd64")?["digest"])?)?;
        }
        let config_digest = text(&manifest["config"]["digest"])?;
        let config = json(config_digest)?;
        Ok(Self {
            digest: top.to_owned(),
            config: config_digest.to_owned(),
            layers: texts(&config["rootfs"]["diff_ids"])?,
        })
    }
}

/// `sha256:…` of these bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A JSON string; anything else is an error.
pub(super) fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("expected a string, found {value}"))
}

/// A JSON list of strings; anything else is an error.
pub(super) fn texts(value: &Value) -> Result<Vec<String>> {
    let values = value.as_array().with_context(|| format!("expected a list, found {value}"))?;
    values.iter().map(|value| Ok(text(value)?.to_owned())).collect()
}
