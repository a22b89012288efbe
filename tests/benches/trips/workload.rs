//! What a day's pulls are: some tags again and again, some that have moved, some new, and update checkers between them.
//! Must never depend on anything but its seed: two days are compared pull by pull.

use docxy_tests::hub::ImageSpec;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::engine::EngineKind;

/// Images that everybody pulls, the most popular first.
const POPULAR_IMAGES: usize = 12;

/// One pull of a day.
#[derive(Debug)]
pub(super) struct PullEvent {
    pub(super) engine: EngineKind,
    pub(super) repository: String,
    /// What is published there just before: a new image, or one to which the tag moves.
    pub(super) publish: Option<ImageSpec>,
    /// Whether the engine has lost the image since it pulled it, as build machines do.
    pub(super) forgotten: bool,
    /// A repository whose tag an update checker asks for afterwards.
    pub(super) checked: Option<String>,
}

/// A day of so many pulls.
pub(super) fn generate(pulls: u32, engines: &[EngineKind], seed: u64) -> Vec<PullEvent> {
    let mut generator =
        Generator { rng: Pcg64Mcg::seed_from_u64(seed), images: 0, published: [None; POPULAR_IMAGES] };
    (0..pulls).map(|_| generator.pull(engines)).collect()
}

struct Generator {
    rng: Pcg64Mcg,
    /// Images made so far.
    images: u64,
    /// What each of the popular ones is by now.
    published: [Option<ImageSpec>; POPULAR_IMAGES],
}

impl Generator {
    fn pull(&mut self, engines: &[EngineKind]) -> PullEvent {
        /// Shares of the pulls: of something new, and of a popular tag that has moved.
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
        let forgotten = self.rng.random_bool(0.5);
        let checked = self.popular();
        let is_checked = self.rng.random_bool(0.5) && self.published[checked].is_some();
        PullEvent { engine, repository, publish, forgotten, checked: is_checked.then(|| name(checked)) }
    }

    /// One of the popular ones, the first more often than the last.
    fn popular(&mut self) -> usize {
        let (one, other) =
            (self.rng.random_range(0..POPULAR_IMAGES), self.rng.random_range(0..POPULAR_IMAGES));
        one.min(other)
    }

    /// An image that hasn't been before: three of four have one small layer, the fourth has five of 200 kB.
    fn image(&mut self) -> ImageSpec {
        /// Layers count up from an image's seed.
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

/// The same image with one more layer: what a tag moves to has the layers below in common with what it named before.
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
    fn nothing_is_pulled_before_it_is_there() {
        let mut there = std::collections::BTreeSet::new();
        for event in generate(200, &EngineKind::ALL, 1) {
            if event.publish.is_some() {
                there.insert(event.repository.clone());
            }
            assert!(there.contains(&event.repository), "{event:?}");
            assert!(event.checked.is_none_or(|checked| there.contains(&checked)));
        }
    }
}
