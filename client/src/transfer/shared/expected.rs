//! The layers of images whose first layers have come ahead: an engine that requests one of them will request the next.
//!
//! Pure. Must never name a layer twice.

use crate::metadata::cache::Layer;
use docxy_protocol::limits::PREFETCH_BLOB_BYTES_MAX;
use docxy_protocol::name::Digest;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Images that are pulled for the first time at the same time, at most. The layers of others are requested by their engines.
const IMAGES_MAX: usize = 16;

/// The layers that no engine has requested yet. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Mutex<VecDeque<Vec<ExpectedLayer>>>>);

#[derive(Debug)]
struct ExpectedLayer {
    layer: Layer,
    /// Whether it was requested, or comes ahead.
    has_begun: bool,
}

impl Expected {
    /// Adds the layers of an image. Small ones are prefetched with its manifest.
    pub(super) fn insert(&self, layers: &[Layer]) {
        let large = layers.iter().filter(|(_, size)| *size > PREFETCH_BLOB_BYTES_MAX as u64);
        let image: Vec<_> =
            large.map(|layer| ExpectedLayer { layer: layer.clone(), has_begun: false }).collect();
        let mut images = self.0.lock();
        if images
            .iter()
            .any(|known| known.iter().map(|known| &known.layer).eq(image.iter().map(|new| &new.layer)))
        {
            return;
        }
        images.push_back(image);
        if images.len() > IMAGES_MAX {
            images.pop_front();
        }
    }

    /// An engine requests this layer. Returns those that should begin now, so that at least so many bytes of the layers after
    /// it, or all, have begun.
    pub(super) fn requested(&self, digest: &Digest, bytes: u64) -> Vec<Layer> {
        let mut images = self.0.lock();
        let position =
            |image: &[ExpectedLayer]| image.iter().position(|expected| expected.layer.0 == *digest);
        let Some((image, at)) = (0..).zip(&*images).find_map(|(n, image)| Some((n, position(image)?))) else {
            return Vec::new();
        };
        let layers: &mut [ExpectedLayer] = &mut images[image];
        layers[at].has_begun = true;
        let (mut begun, mut next) = (0, Vec::new());
        for ExpectedLayer { layer, has_begun } in &mut layers[at + 1..] {
            if begun >= bytes {
                break;
            }
            if !std::mem::replace(has_begun, true) {
                next.push(layer.clone());
            }
            begun += layer.1;
        }
        if layers.iter().all(|expected| expected.has_begun) {
            images.remove(image);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::digester::Digester;

    const MIB: u64 = 1 << 20;
    const NONE: [usize; 0] = [];

    #[test]
    fn the_next_layers_begin_once_as_many_as_the_line_holds() {
        let layer = |n: u8, size| (Digester::sha256().digest(&[n]), size);
        let layers: Vec<_> = (0..6).map(|n| layer(n, if n == 2 { 1000 } else { 2 * MIB })).collect();
        let expected = Expected::default();
        let requested = |n: usize, bytes| -> Vec<usize> {
            let next = expected.requested(&layers[n].0, bytes);
            next.iter().map(|layer| layers.iter().position(|known| known == layer).unwrap()).collect()
        };
        assert_eq!(requested(0, MIB), NONE, "nothing of it came ahead");
        expected.insert(&layers);
        expected.insert(&layers);
        assert_eq!(requested(0, 0), NONE, "the line is not known");
        assert_eq!(requested(0, MIB), [1]);
        assert_eq!(requested(0, 3 * MIB), [3], "the small one came with the manifest");
        // Engines request several at once.
        assert_eq!(requested(4, MIB), [5]);
        assert_eq!(requested(3, 3 * MIB), NONE);
        // The image is forgotten.
        expected.insert(&layers);
        assert_eq!(requested(4, MIB), [5]);
        for n in 0..=IMAGES_MAX as u8 {
            expected.insert(&[layer(100 + n, MIB)]);
        }
        assert_eq!(requested(0, MIB), NONE, "their number is bounded");
    }
}
