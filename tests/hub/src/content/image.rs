//! Small real images: index, manifests, configs and layers that every engine accepts. Every byte depends on the
//! arguments alone, so that digests can be compared across machines.
//! Must never know repositories, tags or HTTP.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::content::{
    blob::{Blob, Digest},
    layer::Layer,
};

/// The family of media types of an image. Docker Hub serves both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI index, manifest, config and layers.
    Oci,
    /// Docker's manifest list v2 and schema 2.
    Docker,
}

/// A manifest or an index with its digest and media type.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The `Content-Type` that it is served with.
    pub media_type: &'static str,
    /// The exact bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
}

/// The image of one platform.
#[derive(Clone, Debug)]
pub struct PlatformImage {
    /// `amd64` or `arm64`; the system is always `linux`.
    pub architecture: &'static str,
    /// The manifest that the index names.
    pub manifest: Manifest,
    /// The config blob.
    pub config: Blob,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
}

/// A multi-arch image.
#[derive(Clone, Debug)]
pub struct Image {
    index: Manifest,
    platforms: Vec<PlatformImage>,
}

/// The parameters of an image with random content, from which another process can build the same image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Images with the same seed have the same digests.
    pub seed: u64,
    /// The number of layers; at least one.
    pub layers: u64,
    /// Bytes of noise in all layers, on each platform.
    pub len: u64,
}

/// Architecture and variant of the platforms of every image.
const PLATFORMS: [(&str, Option<&str>); 2] = [("amd64", None), ("arm64", Some("v8"))];

const CREATED: &str = "2026-01-01T00:00:00Z";

impl Image {
    /// One small layer with `hello` and `etc/os-release`, different on each platform.
    pub fn hello() -> io::Result<Self> {
        Self::hello_from("Docxy")
    }

    /// The same with another greeting, and so with other digests.
    pub fn hello_from(name: &str) -> io::Result<Self> {
        Self::build(|architecture| {
            let hello = format!("Hello from {name} on linux/{architecture}.\n");
            let release = format!("ID=docxy\nNAME=\"Docxy test image\"\nARCHITECTURE={architecture}\n");
            let files: [(&str, &[u8]); 3] =
                [("hello", hello.as_bytes()), ("etc/", b""), ("etc/os-release", release.as_bytes())];
            Ok(vec![Layer::of_files(&files)?])
        })
    }

    /// Five gzip layers of incompressible data, `len` bytes in all on each platform. Held in memory.
    pub fn five_layers(seed: u64, len: u64) -> io::Result<Self> {
        Self::build(|architecture| {
            let layer = |n: u64| {
                Layer::of_noise(&format!("data-{n}"), seed_for_platform(seed + n, architecture), len / 5)
            };
            (1..=5).map(layer).collect()
        })
    }

    /// Four uncompressed layers of incompressible data, `len` bytes in all on each platform, generated as they are
    /// read.
    pub fn four_layers(seed: u64, len: u64) -> io::Result<Self> {
        Self::from_spec(ImageSpec { seed, layers: 4, len })
    }

    /// Uncompressed layers of incompressible data, generated as they are read.
    pub fn from_spec(spec: ImageSpec) -> io::Result<Self> {
        let ImageSpec { seed, layers, len } = spec;
        Self::build(|architecture| {
            let layer = |n: u64| {
                let seed = seed_for_platform(seed.wrapping_add(n), architecture);
                Layer::of_plain_noise(&format!("data-{n}"), seed, len / layers)
            };
            (1..=layers).map(layer).collect()
        })
    }

    /// One uncompressed layer with a file of `len` incompressible bytes, generated as it is read.
    pub fn one_layer(seed: u64, len: u64) -> io::Result<Self> {
        Self::build(|architecture| {
            Ok(vec![Layer::of_plain_noise("data", seed_for_platform(seed, architecture), len)?])
        })
    }

    /// An OCI image with the layers that `layers_for` returns for each architecture.
    pub fn build(layers_for: impl Fn(&str) -> io::Result<Vec<Layer>>) -> io::Result<Self> {
        let mut layers = Vec::new();
        for (architecture, _) in PLATFORMS {
            layers.push(layers_for(architecture)?);
        }
        Ok(Self::assemble(layers, Format::Oci))
    }

    /// The same layers and configs with the media types of `format`; manifests and digests differ.
    #[must_use]
    pub fn in_format(self, format: Format) -> Self {
        Self::assemble(self.platforms.into_iter().map(|platform| platform.layers).collect(), format)
    }

    /// The index, which a tag of this image names.
    pub fn index(&self) -> &Manifest {
        &self.index
    }

    /// The index's digest.
    pub fn digest(&self) -> &Digest {
        &self.index.digest
    }

    /// All platforms.
    pub fn platforms(&self) -> &[PlatformImage] {
        &self.platforms
    }

    /// The platform with this architecture.
    pub fn platform(&self, architecture: &str) -> Option<&PlatformImage> {
        self.platforms.iter().find(|platform| platform.architecture == architecture)
    }

    /// The manifests of all platforms, then the index.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.platforms.iter().map(|platform| &platform.manifest).chain([&self.index])
    }

    /// All configs and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.platforms.iter().flat_map(|platform| {
            let layers = platform.layers.iter().map(|layer| &layer.blob);
            layers.chain([&platform.config])
        })
    }

    fn assemble(layers: Vec<Vec<Layer>>, format: Format) -> Self {
        let platforms: Vec<_> = PLATFORMS
            .into_iter()
            .zip(layers)
            .map(|((architecture, variant), layers)| assemble_platform(architecture, variant, layers, format))
            .collect();
        let entries: Vec<_> = PLATFORMS
            .into_iter()
            .zip(&platforms)
            .map(|((architecture, variant), platform)| {
                let manifest = &platform.manifest;
                let mut entry =
                    descriptor(manifest.media_type, &manifest.digest, manifest.bytes.len() as u64);
                entry["platform"] = platform_json(architecture, variant);
                entry
            })
            .collect();
        let media_type = format.index();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        Self { index: Manifest::of_json(media_type, &index), platforms }
    }
}

impl Manifest {
    /// A manifest with this JSON content.
    pub fn of_json(media_type: &'static str, document: &Value) -> Self {
        let bytes = Bytes::from(document.to_string());
        Self { media_type, digest: Digest::of(&bytes), bytes }
    }
}

impl Format {
    fn index(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_INDEX,
            Self::Docker => media_type::DOCKER_LIST,
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self, gzip: bool) -> &'static str {
        match (self, gzip) {
            (Self::Oci, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, false) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Docker, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, false) => "application/vnd.docker.image.rootfs.diff.tar",
        }
    }
}

/// Media types of manifests.
pub mod media_type {
    /// An OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
}

pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size })
}

fn assemble_platform(
    architecture: &'static str,
    variant: Option<&str>,
    layers: Vec<Layer>,
    format: Format,
) -> PlatformImage {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let history: Vec<_> =
        layers.iter().map(|layer| json!({ "created": CREATED, "created_by": layer.made_by })).collect();
    let mut config = platform_json(architecture, variant);
    config["created"] = json!(CREATED);
    config["config"] = json!({ "Cmd": ["/hello"], "WorkingDir": "/" });
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    config["history"] = json!(history);
    let config = Blob::from_bytes(config.to_string());

    let entries: Vec<_> = layers
        .iter()
        .map(|layer| descriptor(format.layer(layer.gzip), layer.blob.digest(), layer.blob.len()))
        .collect();
    let media_type = format.manifest();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(format.config(), config.digest(), config.len()),
        "layers": entries,
    });
    PlatformImage { architecture, manifest: Manifest::of_json(media_type, &manifest), config, layers }
}

fn platform_json(architecture: &str, variant: Option<&str>) -> Value {
    let mut platform = json!({ "architecture": architecture, "os": "linux" });
    if let Some(variant) = variant {
        platform["variant"] = json!(variant);
    }
    platform
}

/// The seed of a repository's content in the `hub` program. Two repositories with content of the same size have
/// different blobs.
pub fn seed_for_repository(repository: &str) -> u64 {
    repository.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(131).wrapping_add(byte.into()))
}

/// The platforms of one image have different layers, or a pull of the wrong platform would not be detected.
fn seed_for_platform(seed: u64, architecture: &str) -> u64 {
    architecture.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_arguments_make_the_same_digests() {
        let build = || Image::five_layers(1, 1 << 20).expect("in memory");
        assert_eq!(build().digest(), build().digest());
        assert_ne!(build().digest(), Image::five_layers(2, 1 << 20).expect("in memory").digest());
    }

    #[test]
    fn platforms_share_nothing() {
        for image in [Image::hello(), Image::five_layers(1, 5000), Image::one_layer(1, 5000)] {
            let image = image.expect("in memory");
            let digests: BTreeSet<_> = image.blobs().map(|blob| blob.digest().as_str()).collect();
            assert_eq!(digests.len(), image.blobs().count());
        }
    }

    #[test]
    fn an_index_names_manifests_and_they_name_configs_and_layers() {
        for format in [Format::Oci, Format::Docker] {
            let image = Image::hello().expect("in memory").in_format(format);
            let index: Value = serde_json::from_slice(&image.index().bytes).expect("JSON");
            let platform = image.platform("arm64").expect("both platforms");
            assert_eq!(index["mediaType"], format.index());
            assert_eq!(index["manifests"][1]["digest"], platform.manifest.digest.as_str());
            let manifest: Value = serde_json::from_slice(&platform.manifest.bytes).expect("JSON");
            assert_eq!(manifest["config"]["digest"], platform.config.digest().as_str());
            assert_eq!(manifest["layers"][0]["size"], platform.layers[0].blob.len());
        }
    }
}
