//! What holds for any order of events.

use super::*;
use crate::tunnel::leg::goodput::Carried;
use crate::tunnel::leg::{Leg, REST_MAX};
use proptest::prelude::*;

const START: Duration = Duration::from_secs(60);

/// Something that happens to a client.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// On one of the ways that may be dialed.
    Up(usize),
    Lost(bool),
    /// Load, megabytes in use and on trial, and loss.
    Observe(bool, u8, u8, bool),
    BesideUp,
    BesideFailed,
    BesideNotTried,
}

fn events() -> impl Strategy<Value = Vec<(u16, Event)>> {
    let observe = (any::<bool>(), any::<u8>(), any::<u8>(), any::<bool>());
    let event = prop_oneof![
        1 => (0..3_usize).prop_map(Event::Up),
        1 => any::<bool>().prop_map(Event::Lost),
        12 => observe.prop_map(|(loaded, used, tried, loss)| Event::Observe(loaded, used, tried, loss)),
        2 => Just(Event::BesideUp),
        1 => Just(Event::BesideFailed),
        1 => Just(Event::BesideNotTried),
    ];
    // Mostly a quarter of a second, and sometimes minutes.
    let pause = prop_oneof![10 => Just(250), 1 => any::<u16>()];
    prop::collection::vec((pause, event), 0..300)
}

proptest! {
    /// Whatever happens: there is a way to dial, no way rests longer than the longest rest, one session at most is
    /// beside the one in use, and what is known survives a restart.
    #[test]
    fn any_events_leave_a_policy_that_works(events in events(), auto: bool, has_proxy: bool, random in 0.0..=1.0) {
        let choice = if auto { LegChoice::Auto } else { LegChoice::Only(Leg::Tcp) };
        let mut now = Instant::now() + START;
        let mut policy = LegPolicy::new(choice, has_proxy, &Knowledge::default(), now);
        let mut traffic = Traffic { rtt: Duration::from_millis(200), ..Traffic::default() };
        let allowed = policy.dial_order(SessionLoss::Ended, now).ways;
        prop_assert_eq!(allowed.len(), 1 + usize::from(auto) + usize::from(has_proxy));
        let mut is_beside = false;
        for (pause, event) in events {
            now += Duration::from_millis(pause.into());
            let instruction = match event {
                Event::Up(n) => {
                    let way = allowed[n % allowed.len()];
                    policy.lost(SessionLoss::Ended, now, random);
                    policy.up(way, now);
                    is_beside = false;
                    prop_assert_eq!(policy.in_use().map(|(way, _)| way), Some(way));
                    None
                }
                Event::Lost(broke) => {
                    let loss = if broke { SessionLoss::Broke } else { SessionLoss::Ended };
                    policy.lost(loss, now, random);
                    prop_assert_eq!(policy.in_use(), None);
                    is_beside = false;
                    None
                }
                Event::Observe(is_loaded, used, tried, loss) => {
                    traffic.in_use.received += u64::from(used) * 50_000;
                    traffic.on_trial.received += u64::from(tried) * 50_000;
                    traffic.in_use.is_loaded = is_loaded;
                    traffic.on_trial.is_loaded = is_loaded && is_beside;
                    traffic.loss = loss.then_some(0.1);
                    policy.observe(now, traffic, random)
                }
                Event::BesideUp => policy.beside_up(now),
                Event::BesideFailed => {
                    policy.beside_failed(now, random);
                    is_beside = false;
                    None
                }
                Event::BesideNotTried => {
                    policy.beside_not_tried(now);
                    is_beside = false;
                    None
                }
            };
            match instruction {
                Some(Instruction::DialBeside(way, _)) => {
                    prop_assert!(allowed.contains(&way) && !is_beside);
                    prop_assert_ne!(policy.in_use().map(|(way, _)| way), Some(way));
                    is_beside = true;
                }
                Some(Instruction::MoveTo(..) | Instruction::CloseBeside) => {
                    prop_assert!(is_beside);
                    is_beside = false;
                }
                Some(Instruction::Carry(_)) => prop_assert!(is_beside),
                None => {}
            }
            let order = policy.dial_order(SessionLoss::Broke, now);
            let mut ways = order.ways;
            ways.sort_unstable();
            prop_assert_eq!(&ways, &allowed);
            for way in Way::ALL {
                prop_assert!(policy.rest(way, now).is_none_or(|(left, _)| left <= REST_MAX));
            }
            let known = policy.knowledge(now);
            let restored = LegPolicy::new(choice, has_proxy, &known, now).knowledge(now);
            prop_assert_eq!(restored, known);
        }
    }
}

#[test]
fn the_head_start_is_a_round_trip() {
    let now = Instant::now();
    let mut policy = LegPolicy::new(LegChoice::Auto, false, &Knowledge::default(), now);
    let order = policy.dial_order(SessionLoss::Broke, now);
    let ways = vec![Way::Quic, Way::Tcp];
    assert_eq!(order, DialOrder { ways, head_start: HEAD_START_FIRST });
    let rtt = Duration::from_millis(300);
    policy.observe(now, Traffic { rtt, ..Traffic::default() }, 0.0);
    assert_eq!(policy.dial_order(SessionLoss::Broke, now).head_start, rtt);
    policy.up(Way::Quic, now);
    policy.lost(SessionLoss::Ended, now, 0.0);
    assert_eq!(policy.dial_order(SessionLoss::Broke, now).head_start, HEAD_START_AFTER_LOSS);
}

#[test]
fn a_set_leg_is_never_left() {
    let mut now = Instant::now();
    let mut policy = LegPolicy::new(
        LegChoice::Only(Leg::Quic),
        true,
        &Knowledge { preferred: Way::Tcp, ..Knowledge::default() },
        now,
    );
    for _ in 0..10 {
        assert_eq!(policy.dial_order(SessionLoss::Broke, now).ways, [Way::Quic]);
        policy.up(Way::Quic, now);
        assert_eq!(policy.in_use(), Some((Way::Quic, UseReason::Set)));
        now += Duration::from_secs(1);
        policy.lost(SessionLoss::Unanswered, now, 0.0);
    }
}

#[test]
fn a_proxy_is_left_for_the_way_that_does_not_rest() {
    let now = Instant::now();
    let mut policy = LegPolicy::new(LegChoice::Only(Leg::Tcp), true, &Knowledge::default(), now);
    let carried = |received| Traffic {
        in_use: Carried { received, is_loaded: true },
        rtt: Duration::from_millis(200),
        ..Traffic::default()
    };
    for (way, next) in [(Way::Tcp, Way::Tcp), (Way::Tcp, Way::Proxy), (Way::Proxy, Way::Proxy)] {
        policy.up(way, now);
        policy.observe(now, carried(0), 1.0);
        policy.observe(now + Duration::from_millis(250), carried(16_000), 1.0);
        policy.lost(SessionLoss::Broke, now, 1.0);
        assert_eq!(policy.dial_order(SessionLoss::Broke, now).ways[0], next, "one break is no reason");
    }
    // After a restart, too.
    let restored = LegPolicy::new(LegChoice::Auto, true, &policy.knowledge(now), now);
    assert_eq!(restored.dial_order(SessionLoss::Broke, now).ways, [Way::Proxy, Way::Quic, Way::Tcp]);
}
