//! When and where a fault happens, drawn at random from a seed.
//! Must never read a clock, or a seed would not replay.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::Fault;

/// Where in a pull a fault happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// A fault of the link or the processes happens once this share of the image has crossed the link.
    pub(super) share: f64,
    /// The layer in which the CDN fails.
    pub(super) layer: usize,
    /// The offsets in that layer at which it fails, in order.
    pub(super) bytes: [u64; 5],
    /// Whether the link slows down, so that a draining server cuts off the pull.
    pub(super) slow: bool,
}

impl Plan {
    /// A plan for an image with layers of these lengths, in bytes.
    pub(super) fn generate(fault: Fault, seed: u64, layers: &[u64]) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let share = rng.random_range(0.2..0.7);
        let mut layer = rng.random_range(0..layers.len());
        let mut range = 0.05..0.95;
        if fault == Fault::ExpiredToken {
            // Near the end of the last layer: the others have begun then, which no engine can do without a valid token.
            (layer, range) = (layers.len() - 1, 0.9..0.99);
        }
        let length = layers[layer] as f64;
        let mut bytes = [0; 5].map(|_: u64| (length * rng.random_range(range.clone())) as u64);
        bytes.sort_unstable();
        Self { share, layer, bytes, slow: rng.random() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let plan = |seed| Plan::generate(Fault::CdnCut, seed, &[1 << 26; 4]);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn faults_happen_within_a_layer() {
        for (fault, seed) in Fault::ALL.into_iter().flat_map(|fault| (0..100).map(move |seed| (fault, seed)))
        {
            let layers = [100, 1 << 20, 1 << 26, 1 << 24];
            let plan = Plan::generate(fault, seed, &layers);
            assert!(plan.bytes.is_sorted() && plan.bytes[4] < layers[plan.layer], "{plan:?}");
            assert!(plan.share > 0.0 && plan.share < 0.9, "{plan:?}");
        }
    }
}
