//! Days of changing networks.

use crate::simulator::client::Simulation;
use crate::simulator::network::{
    BLOCKED, CLEAN, FREEZES, GOOD, Network, POLICED, REJECTED, STOPS_EARLY, Timeline, Treatment,
};
use crate::{Time, minutes, secs, seeds};
use docxy_client::tunnel::leg::{Knowledge, Way};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const DAY: Time = minutes(24 * 60);

/// The longest time without a byte while a leg works: the silence until it is noticed, twice, since the first leg that
/// is dialed may stop again, and the dials.
const STALL_MAX: Time = secs(15);

/// Pulls with pauses of minutes, of 1 MB to 1 GB.
fn pulls(duration: Time, rng: &mut Pcg64Mcg) -> Vec<(Time, f64)> {
    let mut at = Time::ZERO;
    let mut pulls = Vec::new();
    while at < duration {
        pulls.push((at, 10f64.powf(rng.random_range(0.0..3.0))));
        at += secs(rng.random_range(5..600));
    }
    pulls
}

/// Networks on which at least one leg works.
fn networks() -> Vec<Network> {
    let lossy = Treatment { rate: 80.0, loss: 0.05, ..GOOD };
    let slow = Treatment { rate: 30.0, ..GOOD };
    let bad = [BLOCKED, REJECTED, POLICED, STOPS_EARLY, FREEZES, slow];
    let mut networks = vec![CLEAN, Network::with(lossy, lossy), Network { capacity: 12.0, ..CLEAN }];
    networks.extend(bad.map(|quic| Network::with(quic, GOOD)));
    networks.extend(bad.map(|tcp| Network::with(GOOD, tcp)));
    networks.extend([BLOCKED, FREEZES].map(|tcp| Network::with(POLICED, tcp)));
    networks
}

#[test]
fn random_networks_are_survived_without_flapping() {
    let networks = networks();
    for seed in seeds() {
        for knows_loss in [false, true] {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let duration = 2 * DAY;
            let mut changes = vec![(Time::ZERO, CLEAN)];
            let mut at = Time::ZERO;
            while at < duration {
                at += minutes(rng.random_range(31..400));
                changes.push((at, networks[rng.random_range(0..networks.len())]));
            }
            let pulls = pulls(duration, &mut rng);
            let known = Knowledge::default();
            let timeline = Timeline(changes);
            let simulation =
                Simulation { timeline, pulls, duration, knows_loss, has_proxy: false, known, seed };
            let (report, _) = simulation.run();
            let stall = report.stalls.iter().max_by_key(|(_, length)| *length);
            assert!(stall.is_none_or(|(_, length)| *length <= STALL_MAX), "seed {seed}: {stall:?}");
            assert!(report.moves_in_half_an_hour() <= 3, "seed {seed}: {:?}", report.moves());
            let share = report.share(Time::ZERO, duration);
            assert!(share > 0.8, "seed {seed}: {share}");
        }
    }
}

#[test]
fn a_network_that_polices_udp_in_the_evening_costs_little() {
    for seed in seeds() {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let duration = 4 * DAY + minutes(6 * 60);
        let evening = |day: u32| {
            let begin = DAY * day + minutes(18 * 60);
            [(begin, Network::with(POLICED, GOOD)), (begin + minutes(5 * 60), CLEAN)]
        };
        let mut changes = vec![(Time::ZERO, CLEAN)];
        changes.extend((0..4).flat_map(evening));
        let pulls = pulls(duration, &mut rng);
        let known = Knowledge::default();
        let timeline = Timeline(changes);
        let simulation =
            Simulation { timeline, pulls, duration, knows_loss: true, has_proxy: false, known, seed };
        let (report, _) = simulation.run();
        let share = report.share(Time::ZERO, duration);
        assert!(share > 0.93, "seed {seed}: {share}");
        assert!(report.moves().len() <= 4 * 2, "seed {seed}: {:?}", report.moves());
        assert_eq!(report.leg_at(duration), Some(Way::Quic), "{:?}", report.legs);
    }
}

#[test]
fn a_day_on_a_blocked_network_costs_a_few_attempts() {
    for seed in seeds() {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let pulls = pulls(DAY, &mut rng);
        let timeline = Timeline(vec![(Time::ZERO, Network::with(BLOCKED, GOOD))]);
        let known = Knowledge::default();
        let simulation =
            Simulation { timeline, pulls, duration: DAY, knows_loss: true, has_proxy: false, known, seed };
        let (report, _) = simulation.run();
        assert!((5..=14).contains(&report.attempts.len()), "{:?}", report.attempts);
        assert!(report.moves().is_empty());
    }
}

#[test]
fn trials_on_a_good_network_are_rare() {
    for seed in seeds() {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let pulls = pulls(3 * DAY, &mut rng);
        let timeline = Timeline(vec![(Time::ZERO, CLEAN)]);
        let known = Knowledge::default();
        let simulation = Simulation {
            timeline,
            pulls,
            duration: 3 * DAY,
            knows_loss: true,
            has_proxy: false,
            known,
            seed,
        };
        let (report, _) = simulation.run();
        // One with a result on each day, and a few whose body ended before.
        assert!(report.attempts.len() <= 12, "{:?}", report.attempts);
        // Of a trial that is lost: its time at half of the link.
        assert!(report.trial_bytes < 60_000_000, "{}", report.trial_bytes);
        assert!(report.moves().is_empty());
    }
}
