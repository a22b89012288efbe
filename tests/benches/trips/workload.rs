//! The pulls of a day: popular tags repeatedly, tags that have moved, new images, and update checks in between.
//! Must never depend on anything but the seed: two days are compared pull by pull.

use hub_stand_in::ImageSpec;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::engine::EngineKind;

/// The number of images that all engines pull, the most popular first.
const POPULAR_IMAGES: usize = 12;

/// One pull of a day.
#[derive(Debug)]
pub(super) struct PullEvent {
    pub(super) engine: EngineKind,
    pub(super) repository: String,
    /// The image to publish in the repository first: a new one, or one to which the tag moves.
    pub(super) publish: Option<ImageSpec>,
    /// Whether the engine's copy is removed first, as on build machines.
    pub(super) remove_first: bool,
    /// The repository whose tag an update checker resolves afterwards.
    pub(super) checked: Option<String>,
}

/// A day with this number of pulls.
pub(super) fn generate(pulls: u32, engines: &[EngineKind], seed: u64) -> Vec<PullEvent> {
    let mut generator =
        Generator { rng: Pcg64Mcg::seed_from_u64(seed), images: 0, published: [None; POPULAR_IMAGES] };
    (0..pulls).map(|_| generator.pull(engines)).collect()
}

struct Generator {
    rng: Pcg64Mcg,
    /// The number of images so far.
    images: u64,
    /// The current image of each popular repository.
    published: [Option<ImageSpec>; POPULAR_IMAGES],
}

impl Generator {
    fn pull(&mut self, engines: &[EngineKind]) -> PullEvent {
        /// The shares of pulls of a new image, and of a popular tag that has moved.
        const NEW_SHARE: f64 = 0.2;
        const MOVED_SHARE: f64 = 0.1;
        let engine = engines[self.rng.random_range(0..engines.len())];
        let is_new = self.rng.random_bool(NEW_SHARE);
        let popular = self.popular();
        let moved = self.rng.random_bool(MOVED_SHARE);
        let (repository, publish) = if is_new {
            (format!("day/new-{}", self.images), Some(self.image()))
        } else {
            let image = match self.published[popular] {
                None => Some(self.image()),
                Some(image) => moved.then(|| on_top_of(image)),
            };
            self.published[popular] = image.or(self.published[popular]);
            (name(popular), image)
        };
        let remove_first = self.rng.random_bool(0.5);
        let checked = self.popular();
        let is_checked = self.rng.random_bool(0.5) && self.published[checked].is_some();
        PullEvent { engine, repository, publish, remove_first, checked: is_checked.then(|| name(checked)) }
    }

    /// A popular image; the first is chosen more often than the last.
    fn popular(&mut self) -> usize {
        let (one, other) =
            (self.rng.random_range(0..POPULAR_IMAGES), self.rng.random_range(0..POPULAR_IMAGES));
        one.min(other)
    }

    /// A new image: three of four have one small layer, the fourth has five layers of 200 kB.
    fn image(&mut self) -> ImageSpec {
        /// The seeds of layers count up from the image's seed.
        const SEED_STEP: u64 = 1 << 16;
        self.images += 1;
        let seed = (1 << 48) + self.images * SEED_STEP;
        if self.images.is_multiple_of(4) {
            ImageSpec { seed, layers: 5, len: 1_000_000 }
        } else {
            ImageSpec { seed, layers: 1, len: 8000 }
        }
    }
}

/// The same image with one more layer: a moved tag shares the lower layers with the image that it named before.
fn on_top_of(image: ImageSpec) -> ImageSpec {
    let layers = image.layers + 1;
    ImageSpec { layers, len: image.len / image.layers * layers, ..image }
}

fn name(popular: usize) -> String {
    format!("day/popular-{popular}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_day() {
        let day = |seed| format!("{:?}", generate(50, &EngineKind::ALL, seed));
        assert_eq!(day(1), day(1));
        assert_ne!(day(1), day(2));
    }

    #[test]
    fn every_image_is_published_before_it_is_pulled() {
        let mut published = std::collections::BTreeSet::new();
        for event in generate(200, &EngineKind::ALL, 1) {
            if event.publish.is_some() {
                published.insert(event.repository.clone());
            }
            assert!(published.contains(&event.repository), "{event:?}");
            assert!(event.checked.is_none_or(|checked| published.contains(&checked)));
        }
    }
}
