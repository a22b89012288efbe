//! The loss model: which packets are lost at random.
//! Must never look at a packet: the loss is the link's.

use rand::{Rng, RngExt};

use crate::wan::link::conditions::Loss;

/// The loss of one direction; bursts need a state.
#[derive(Clone, Copy, Debug)]
pub(in crate::wan) struct LossModel {
    loss: Loss,
    in_burst: bool,
}

impl LossModel {
    pub(in crate::wan) fn new(loss: Loss) -> Self {
        Self { loss, in_burst: false }
    }

    pub(in crate::wan) fn loss(&self) -> Loss {
        self.loss
    }

    /// Whether the next packet is lost.
    pub(in crate::wan) fn loses_next(&mut self, rng: &mut impl Rng) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Random { share } => happens(rng, share),
            Loss::Bursty { share, burst } => {
                // A burst ends after each packet with probability 1 ÷ its mean length. The probability that a burst
                // begins gives both states their shares: share · end = (1 − share) · begin.
                let end = 1.0 / burst.max(1.0);
                let begin = end * share / (1.0 - share);
                self.in_burst = happens(rng, if self.in_burst { 1.0 - end } else { begin });
                self.in_burst
            }
        }
    }
}

fn happens(rng: &mut impl Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    const PACKETS: usize = 1_000_000;

    fn losses(loss: Loss, seed: u64) -> Vec<bool> {
        let mut loss_model = LossModel::new(loss);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        (0..PACKETS).map(|_| loss_model.loses_next(&mut rng)).collect()
    }

    fn share(losses: &[bool]) -> f64 {
        losses.iter().filter(|lost| **lost).count() as f64 / losses.len() as f64
    }

    /// The mean length of the runs of lost packets.
    fn mean_burst(losses: &[bool]) -> f64 {
        let bursts = losses.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        losses.iter().filter(|lost| **lost).count() as f64 / bursts as f64
    }

    #[test]
    fn random_loss_has_the_right_share_and_no_bursts() {
        for expected in [0.01, 0.05, 0.15] {
            let losses = losses(Loss::Random { share: expected }, 1);
            // Five standard deviations of a binomial share.
            let tolerance = 5.0 * (expected * (1.0 - expected) / PACKETS as f64).sqrt();
            assert!((share(&losses) - expected).abs() < tolerance, "{} for {expected}", share(&losses));
            let burst = mean_burst(&losses);
            assert!((burst - 1.0 / (1.0 - expected)).abs() < 0.01, "{burst} for {expected}");
        }
    }

    #[test]
    fn bursty_loss_has_the_right_share_and_burst_length() {
        let losses = losses(Loss::Bursty { share: 0.02, burst: 8.0 }, 1);
        assert!((share(&losses) - 0.02).abs() < 0.002, "{}", share(&losses));
        assert!((mean_burst(&losses) - 8.0).abs() < 0.8, "{}", mean_burst(&losses));
    }

    #[test]
    fn no_packet_or_every_packet_can_be_lost() {
        assert_eq!(share(&losses(Loss::None, 1)), 0.0);
        assert_eq!(share(&losses(Loss::Random { share: 0.0 }, 1)), 0.0);
        assert_eq!(share(&losses(Loss::Random { share: 1.0 }, 1)), 1.0);
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let loss = Loss::Bursty { share: 0.05, burst: 4.0 };
        assert_eq!(losses(loss, 7), losses(loss, 7));
        assert_ne!(losses(loss, 7), losses(loss, 8));
    }
}
