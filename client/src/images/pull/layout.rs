//! The files beside the blobs, from which `docker load`, `podman load` and other readers of OCI layouts find
//! them.
//!
//! Pure: names and bytes. Docker before version 25 reads `manifest.json`, podman the others.

use bytes::Bytes;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::manifest::ImageManifest;
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::platform::Platform;
use serde_json::{Value, json};

/// A file of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) content: Vec<u8>,
}

/// The manifest of the image, as it was received.
pub(crate) struct RootManifest {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(crate) manifest: ImageManifest,
    /// Its platform in the index, if there is one.
    pub(crate) platform: Option<Platform>,
}

/// The path of a blob in a layout.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// All files of the layout except config and layers.
///
/// The index names this manifest only: most entries of the original index would be missing in the layout.
pub(super) fn files(image: &ImageName, root: &RootManifest) -> Vec<File> {
    let file = |path: &str, value: Value| File { path: path.to_owned(), content: value.to_string().into() };
    vec![
        file("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        file("index.json", index(image, root)),
        file("manifest.json", docker_manifest(image, &root.manifest)),
        File { path: blob_path(&root.digest), content: root.bytes.to_vec() },
    ]
}

fn index(image: &ImageName, root: &RootManifest) -> Value {
    let mut entry = json!({
        "mediaType": root.manifest.media_type,
        "digest": root.digest,
        "size": root.bytes.len(),
    });
    if let Some(platform) = &root.platform {
        entry["platform"] = json!(platform);
    }
    // An image by digest has no name. The digest can be that of the index, which differs from that of the
    // loaded image.
    if let Reference::Tag(tag) = &image.reference {
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": tag.as_str(),
            "io.containerd.image.name": image.to_string(),
        });
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
}

fn docker_manifest(image: &ImageName, manifest: &ImageManifest) -> Value {
    let tags: Vec<String> = match image.reference {
        Reference::Tag(_) => vec![image.to_string()],
        Reference::Digest(_) => Vec::new(),
    };
    let layers: Vec<String> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    json!([{ "Config": blob_path(&manifest.config.digest), "RepoTags": tags, "Layers": layers }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::manifest::Manifest;

    fn layout_of(name: &str) -> Vec<Value> {
        let digest = |n: u8| format!("sha256:{n:064}");
        let blob = |n: u8| json!({ "mediaType": "m", "digest": digest(n), "size": n });
        let bytes = json!({ "schemaVersion": 2, "config": blob(1), "layers": [blob(2), blob(3), blob(2)] });
        let bytes = bytes.to_string().into_bytes();
        let Ok(Manifest::Image(manifest)) = Manifest::parse(&bytes, None) else { panic!() };
        let root = RootManifest {
            digest: digest(9).parse().unwrap(),
            bytes: bytes.clone().into(),
            manifest,
            platform: Some("linux/arm64/v8".parse().unwrap()),
        };
        let files = files(&name.parse().unwrap(), &root);
        assert_eq!(files[3], File { path: format!("blobs/sha256/{:064}", 9), content: bytes.clone() });
        files[..3].iter().map(|file| serde_json::from_slice(&file.content).unwrap()).collect()
    }

    #[test]
    fn engines_find_the_manifest_and_the_name() {
        let [layout, index, docker] = &layout_of("alpine:3")[..] else { panic!() };
        assert_eq!(layout["imageLayoutVersion"], "1.0.0");
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], format!("sha256:{:064}", 9));
        assert_eq!(entry["platform"]["variant"], "v8");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "3");
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/alpine:3");
        assert_eq!(docker[0]["RepoTags"], json!(["docker.io/library/alpine:3"]));
        assert_eq!(docker[0]["Config"], format!("blobs/sha256/{:064}", 1));
        let layers = docker[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3, "a duplicate layer is applied twice");
    }

    #[test]
    fn an_image_by_digest_has_no_name() {
        let [_, index, docker] = &layout_of(&format!("alpine@sha256:{:064}", 7))[..] else { panic!() };
        assert_eq!(index["manifests"][0].get("annotations"), None);
        assert_eq!(docker[0]["RepoTags"], json!([]));
    }
}
