//! When and where a fault strikes: a throw of rng that its seed repeats.
//! Must never look at a clock, or a seed would not replay.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::Fault;

/// Where in a pull a fault strikes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// What happens to the link or the processes happens once this share of the image has crossed.
    pub(super) share: f64,
    /// The layer that the CDN has trouble with.
    pub(super) layer: usize,
    /// The bytes of it at which it has, in order.
    pub(super) bytes: [u64; 5],
    /// Whether what runs is too slow for a server that is told to end, and is cut off by it.
    pub(super) slow: bool,
}

impl Plan {
    /// For an image with layers of this length, in bytes.
    pub(super) fn generate(fault: Fault, seed: u64, layers: &[u64]) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        if fault == Fault::ExpiredToken {
            // Behind the beginning of the last layer: a token that has expired begins none, and engines know when theirs
            // do. The cut comes behind the expiry.
            let layer = layers.len() - 1;
            let byte = (layers[layer] as f64 * rng.random_range(0.96..0.99)) as u64;
            return Self { share: rng.random_range(0.78..0.82), layer, bytes: [byte; 5], slow: false };
        }
        let share = rng.random_range(0.2..0.7);
        let layer = rng.random_range(0..layers.len());
        let length = layers[layer] as f64;
        let mut bytes = [0; 5].map(|_: u64| (length * rng.random_range(0.05..0.95)) as u64);
        bytes.sort_unstable();
        Self { share, layer, bytes, slow: rng.random() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_plan_and_another_one_does_not() {
        let plan = |seed| Plan::generate(Fault::CdnCut, seed, &[1 << 26; 4]);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn faults_strike_within_a_layer() {
        for (fault, seed) in Fault::ALL.into_iter().flat_map(|fault| (0..100).map(move |seed| (fault, seed)))
        {
            let layers = [100, 1 << 20, 1 << 26, 1 << 24];
            let plan = Plan::generate(fault, seed, &layers);
            assert!(plan.bytes.is_sorted() && plan.bytes[4] < layers[plan.layer], "{plan:?}");
            assert!(plan.share > 0.0 && plan.share < 0.9, "{plan:?}");
        }
    }
}
