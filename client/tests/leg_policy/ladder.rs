//! Single faults, as on the ladder of the link emulator.

use crate::simulator::client::Simulation;
use crate::simulator::network::{
    BLOCKED, CLEAN, FREEZES, GOOD, Handshake, Network, POLICED, REJECTED, STOPS_EARLY, Treatment,
};
use crate::simulator::report::Report;
use crate::{Time, busy, minutes, ms, secs, seeds};
use docxy_client::tunnel::leg::{Knowledge, TrialReason, Way};

/// Until bulk has 0.9 of the better leg: the ladder's limit for a policed link.
const FOUND_BY: Time = secs(10);

fn run(quic: Treatment, tcp: Treatment, seed: u64) -> Report {
    busy(&[(Time::ZERO, Network::with(quic, tcp))], seed).run().0
}

fn assert_used(report: &Report, leg: Way, by: Time, what: &str) {
    let first = report.first_use(leg, Time::ZERO);
    assert!(first.is_some_and(|first| first <= by), "{what}: {leg} in use at {first:?}");
}

#[test]
fn a_client_without_udp_is_on_tcp_within_a_second_and_at_once_the_next_time() {
    for seed in seeds() {
        let network = Network::with(BLOCKED, GOOD);
        let (report, known) = busy(&[(Time::ZERO, network)], seed).run();
        assert_used(&report, Way::Tcp, ms(1250), "first start");
        assert!(report.moves().is_empty(), "{:?}", report.moves());
        assert!(report.share(minutes(1), minutes(60)) > 0.95);
        // One attempt after seconds, and then one for each rest.
        assert!((2..=5).contains(&report.attempts.len()), "{:?}", report.attempts);
        assert_eq!(known.preferred, Way::Tcp);
        // A day later.
        let known = known.after(minutes(24 * 60));
        let again = Simulation { known, duration: minutes(5), ..busy(&[(Time::ZERO, network)], seed) };
        assert_used(&again.run().0, Way::Tcp, ms(750), "second start");
    }
}

#[test]
fn a_rejected_handshake_is_as_good_as_none() {
    for seed in seeds() {
        assert_used(&run(REJECTED, GOOD, seed), Way::Tcp, ms(1500), "rejected");
    }
}

#[test]
fn a_quic_that_lost_packets_delay_is_used_when_it_comes_up() {
    for seed in seeds() {
        let late = Treatment { handshake: Handshake::Delayed(ms(1400)), ..GOOD };
        let network = Network::with(late, Treatment { rate: 25.0, ..GOOD });
        let pulling = busy(&[(Time::ZERO, network)], seed);
        let idle = Simulation { pulls: Vec::new(), ..pulling.clone() };
        for (simulation, by) in [(idle, ms(2250)), (pulling, secs(5))] {
            let report = simulation.run().0;
            assert_used(&report, Way::Tcp, ms(1250), "first");
            assert_eq!(report.leg_at(by), Some(Way::Quic), "{:?}", report.legs);
            assert_eq!(report.moves().len(), 1, "{:?}", report.moves());
        }
        // It is judged as ever.
        let policed = Network::with(Treatment { handshake: late.handshake, ..POLICED }, GOOD);
        let report = busy(&[(Time::ZERO, policed)], seed).run().0;
        assert_eq!(report.leg_at(secs(20)), Some(Way::Tcp), "{:?}", report.legs);
    }
}

#[test]
fn policed_udp_is_left_within_ten_seconds() {
    for seed in seeds() {
        let report = run(POLICED, GOOD, seed);
        assert_used(&report, Way::Tcp, secs(6), "policed");
        assert_eq!(report.moves().len(), 1, "{:?}", report.moves());
        let share = report.share(minutes(1), minutes(60));
        assert!(share > 0.97, "{share}");
        let blind =
            Simulation { knows_loss: false, ..busy(&[(Time::ZERO, Network::with(POLICED, GOOD))], seed) };
        assert_used(&blind.run().0, Way::Tcp, FOUND_BY - secs(2), "policed, loss unknown");
    }
}

/// The machine is busy while TCP is on trial, so TCP carries too little.
#[test]
fn a_first_trial_that_is_lost_by_chance_is_repeated_in_the_same_pull() {
    for seed in seeds() {
        let busy_machine = Network::with(POLICED, Treatment { rate: 15.0, ..GOOD });
        let changes = [(Time::ZERO, busy_machine), (secs(12), Network::with(POLICED, GOOD))];
        for knows_loss in [false, true] {
            let report = Simulation { knows_loss, ..busy(&changes, seed) }.run().0;
            assert_used(&report, Way::Tcp, secs(40), "the second trial");
            assert_eq!(report.moves().len(), 1, "{:?}", report.moves());
        }
    }
}

#[test]
fn flows_that_stop_after_their_first_bytes_are_left() {
    for seed in seeds() {
        let report = run(STOPS_EARLY, GOOD, seed);
        assert_used(&report, Way::Tcp, secs(5), "one-way loss");
        assert!(report.share(minutes(1), minutes(60)) > 0.95);
        assert_eq!(report.moves().len(), 1, "{:?}", report.moves());
        // TCP that was in use before, and freezes now.
        let known = Knowledge { preferred: Way::Tcp, ..Knowledge::default() };
        let frozen = Simulation { known, ..busy(&[(Time::ZERO, Network::with(GOOD, FREEZES))], seed) };
        assert_used(&frozen.run().0, Way::Quic, secs(6), "frozen TCP");
    }
}

#[test]
fn a_slow_leg_is_kept_if_the_other_one_stops() {
    for seed in seeds() {
        for tcp in [FREEZES, BLOCKED, REJECTED] {
            let report = run(POLICED, tcp, seed);
            assert!(report.moves().is_empty(), "{:?}", report.moves());
            let share = report.share(minutes(1), minutes(60));
            assert!(share > 0.97, "{share}");
        }
    }
}

#[test]
fn a_good_link_is_left_alone() {
    for seed in seeds() {
        for loss in [0.0, 0.01, 0.05, 0.15] {
            // TCP is a little worse, or a little better.
            for tcp in [60.0, 90.0, 96.0] {
                let lossy = |rate| Treatment { rate, loss, ..GOOD };
                let report = run(lossy(85.0), lossy(tcp), seed);
                assert!(report.moves().is_empty(), "{:?}", report.moves());
                // A lossy one may be a policed one. One that shapes looks like a slow one.
                let looks = if loss >= 0.02 { 2 } else { 1 };
                assert!(report.attempts.len() <= looks, "{:?}", report.attempts);
                let share = report.share(minutes(1), minutes(60)) * 96f64.min(tcp.max(85.0)) / 85.0;
                assert!(share > 0.97, "{share} at {loss} with TCP at {tcp}");
            }
        }
    }
}

#[test]
fn udp_that_is_blocked_in_a_pull_is_left_within_three_seconds_and_used_again_within_ten_minutes() {
    for seed in seeds() {
        for opened in [minutes(4), minutes(8)] {
            let blocked = (minutes(3), Network::with(BLOCKED, GOOD));
            let simulation = busy(&[(Time::ZERO, CLEAN), blocked, (opened, CLEAN)], seed);
            let idle = Simulation { pulls: vec![(Time::ZERO, 2400.0)], ..simulation.clone() };
            for simulation in [simulation, idle] {
                let report = simulation.run().0;
                let tcp = report.first_use(Way::Tcp, minutes(3)).unwrap();
                assert!(tcp <= minutes(3) + secs(3), "TCP at {tcp:?}");
                let quic = report.first_use(Way::Quic, tcp + secs(1)).unwrap();
                let latest = opened.max(tcp) + minutes(10);
                assert!(quic > opened && quic <= latest, "opened at {opened:?}, QUIC at {quic:?}");
                assert_eq!(report.moves().len(), 2, "{:?}", report.moves());
            }
        }
    }
}

#[test]
fn a_link_that_worsens_and_mends_costs_two_moves() {
    let worse = [
        Network::with(POLICED, GOOD),
        Network::with(BLOCKED, GOOD),
        Network::with(STOPS_EARLY, GOOD),
        Network::with(Treatment { rate: 2.0, ..POLICED }, GOOD),
    ];
    for seed in seeds() {
        for worse in worse {
            for mends in [minutes(6), minutes(12), minutes(29)] {
                let changes = [(Time::ZERO, CLEAN), (minutes(5), worse), (mends, CLEAN)];
                // The third rest may have begun just before it mends.
                let simulation = Simulation { duration: minutes(29 + 35), ..busy(&changes, seed) };
                let report = simulation.run().0;
                assert!(report.moves_in_half_an_hour() <= 2, "{worse:?}: {:?}", report.moves());
                assert_eq!(report.leg_at(minutes(64)), Some(Way::Quic), "{worse:?}: {:?}", report.legs);
            }
        }
    }
}

#[test]
fn a_path_that_gets_slower_on_both_legs_moves_nothing() {
    for seed in seeds() {
        let slow = Network { capacity: 20.0, ..CLEAN };
        let changes = [(Time::ZERO, CLEAN), (minutes(5), slow), (minutes(25), CLEAN), (minutes(45), slow)];
        let report = busy(&changes, seed).run().0;
        assert!(report.moves().is_empty(), "{:?}", report.moves());
        let looks = report.attempts.iter().filter(|attempt| attempt.2 == TrialReason::BelowKnown).count();
        assert!((1..=2).contains(&looks), "one for each time that it got slower: {:?}", report.attempts);
        assert!(report.share(minutes(1), minutes(60)) > 0.97);
    }
}

#[test]
fn outages_of_the_whole_path_move_nothing() {
    for seed in seeds() {
        let down = Network::with(BLOCKED, BLOCKED);
        let mut changes = vec![(Time::ZERO, CLEAN)];
        for n in 1..20 {
            let begin = minutes(n * 3) + ms(n * 130);
            changes.extend([(begin, down), (begin + secs(2 * n), CLEAN)]);
        }
        let report = busy(&changes, seed).run().0;
        assert!(report.moves_in_half_an_hour() <= 2, "{:?}", report.moves());
        let on_quic = report.legs.iter().filter(|(_, leg)| *leg == Way::Quic).count();
        assert!(on_quic * 10 >= report.legs.len() * 8, "{:?}", report.legs);
    }
}

#[test]
fn a_proxy_is_chosen_by_what_it_carries() {
    for seed in seeds() {
        let slow = Network::with(POLICED, Treatment { rate: 18.0, ..GOOD });
        let with = |network, proxy| {
            let network = Network { proxy, ..network };
            Simulation { has_proxy: true, ..busy(&[(Time::ZERO, network)], seed) }
        };
        let (report, known) = with(slow, GOOD).run();
        assert_used(&report, Way::Proxy, secs(45), "a better proxy");
        assert!(report.share(minutes(1), minutes(60)) > 0.95);
        assert_eq!(report.moves().len(), 1, "{:?}", report.moves());
        let again = Simulation { known, duration: minutes(5), ..with(slow, GOOD) };
        assert_eq!(again.run().0.legs.first().map(|(_, way)| *way), Some(Way::Proxy), "second start");
        // One that carries less, or stops.
        for proxy in [Treatment { rate: 10.0, ..GOOD }, FREEZES, BLOCKED] {
            for network in [slow, CLEAN] {
                let report = with(network, proxy).run().0;
                assert!(report.moves().is_empty(), "{:?}", report.moves());
                assert!(report.share(minutes(1), minutes(60)) > 0.95);
            }
        }
        for tcp in [BLOCKED, REJECTED, FREEZES] {
            let report = with(Network::with(BLOCKED, tcp), GOOD).run().0;
            assert_used(&report, Way::Proxy, secs(8), "nothing else gets through");
        }
    }
}
