//! What the fuzz targets reach in here (`tests/fuzz`). Built for them alone, and must stay that way.

use super::manifest::Manifest;

/// Reads a manifest, its media type in the first line.
///
/// # Panics
/// Where an image is taken whose sizes cannot be added up.
pub fn manifest(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (content_type, document) = bytes.split_at(end);
    if let Ok(Manifest::Image(image)) = Manifest::parse(document, std::str::from_utf8(content_type).ok()) {
        let total = image.layers.iter().map(|layer| layer.size).try_fold(image.config.size, u64::checked_add);
        assert!(total.is_some());
    }
}
