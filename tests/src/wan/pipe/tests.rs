//! The core, stepped by hand: period packet's fate and time is known in advance, or known in the mean.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::wan::{Loss, Outages, Rate, UdpRule, packet::Payload};

const MS: Duration = Duration::from_millis(1);
/// A full packet takes a millisecond.
const RATE: Rate = Rate::mbit(12);
const FULL: u64 = 1500;
const CLEAN: Conditions = Conditions::clean(RATE, Duration::from_millis(200));

fn tcp(bytes: u64) -> Packet {
    Packet { bytes, payload: Payload::Other }
}

fn udp(bytes: u64, from: u16, to: u16) -> Packet {
    Packet { bytes, payload: Payload::Udp(Some(Flow::between(from, to))) }
}

/// A direction with its rng.
struct Bench {
    pipe: Pipe,
    rng: Pcg64Mcg,
}

impl Bench {
    fn new(conditions: Conditions) -> Self {
        Self { pipe: Pipe::new(conditions, 10 * FULL), rng: Pcg64Mcg::seed_from_u64(1) }
    }

    fn admit(&mut self, now: Duration, packet: Packet) -> Verdict {
        self.pipe.admit(now, &packet, &mut self.rng)
    }

    fn arrival(&mut self, now: Duration, packet: Packet) -> Duration {
        match self.admit(now, packet) {
            Verdict::Deliver(timing) => timing.arrives,
            Verdict::Drop(cause) => panic!("dropped: {cause:?}"),
        }
    }

    /// Full packets at `interval`, each delivered on time or dropped.
    fn run(&mut self, packets: u32, interval: Duration) -> Vec<Verdict> {
        let verdicts: Vec<_> = (0..packets).map(|n| self.admit(n * interval, tcp(FULL))).collect();
        for verdict in &verdicts {
            if let Verdict::Deliver(timing) = verdict
                && self.pipe.arrive(timing.arrives, FULL)
            {
                self.pipe.handed_over(FULL, true);
            }
        }
        verdicts
    }
}

#[test]
fn a_packet_takes_its_turn_at_the_bottleneck_and_then_the_delay() {
    let mut bench = Bench::new(CLEAN);
    assert_eq!(bench.arrival(50 * MS, tcp(FULL)), 151 * MS);
    assert_eq!(bench.arrival(50 * MS, tcp(FULL)), 152 * MS);
    assert_eq!(bench.arrival(60 * MS, tcp(FULL / 2)), 160 * MS + MS / 2);
}

#[test]
fn what_the_queue_cannot_hold_is_dropped() {
    let mut bench = Bench::new(CLEAN);
    let verdicts: Vec<_> = (0..30).map(|_| bench.admit(MS, tcp(FULL))).collect();
    assert!(verdicts[..10].iter().all(|verdict| matches!(verdict, Verdict::Deliver(_))));
    assert!(verdicts[10..].iter().all(|verdict| *verdict == Verdict::Drop(DropCause::QueueFull)));
    assert_eq!(bench.pipe.peak_queue(), 10 * FULL);
}

#[test]
fn jitter_delays_and_never_reorders() {
    let mut bench = Bench::new(Conditions { jitter: 20 * MS, rate: None, ..CLEAN });
    let arrivals: Vec<_> = (0..1000).map(|n| (n * MS, bench.arrival(n * MS, tcp(100)))).collect();
    assert!(arrivals.is_sorted_by_key(|(_, arrives)| *arrives));
    let delays: Vec<_> = arrivals.iter().map(|(sent, arrives)| *arrives - *sent).collect();
    assert!(delays.iter().all(|delay| (100 * MS..=120 * MS).contains(delay)));
    assert!(delays.iter().min().unwrap() < &(105 * MS) && delays.iter().max().unwrap() > &(115 * MS));
}

#[test]
fn loss_before_the_queue_costs_no_capacity_and_loss_behind_it_does() {
    const PACKETS: u32 = 100_000;
    let delivered = |loss_point| {
        let loss = Loss::Random { share: 0.2 };
        let mut bench = Bench::new(Conditions { loss, loss_point, ..CLEAN });
        // Offered at twice the rate, so that the bottleneck is never idle.
        bench.run(PACKETS, MS / 2);
        f64::from(u32::try_from(bench.pipe.counters().delivered.packets).unwrap())
    };
    let full = f64::from(PACKETS / 2);
    assert!((delivered(LossPoint::BeforeQueue) / full - 1.0).abs() < 0.01);
    assert!((delivered(LossPoint::AfterQueue) / full - 0.8).abs() < 0.01);
}

#[test]
fn every_packet_is_accounted_for() {
    let conditions = Conditions {
        loss: Loss::Bursty { share: 0.05, burst: 4.0 },
        jitter: 5 * MS,
        outages: Some(Outages { period: 1000 * MS, duration: 50 * MS }),
        ..CLEAN
    };
    let mut bench = Bench::new(conditions);
    let verdicts = bench.run(20_000, MS * 2 / 3);
    let counters = bench.pipe.counters();
    assert_eq!(counters.offered, Traffic { packets: 20_000, bytes: 20_000 * FULL });
    assert_eq!(counters.offered, counters.delivered + counters.dropped.total());
    assert_eq!(counters.in_flight(), Traffic::default());
    let dropped = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Drop(_))).count() as u64;
    assert!(dropped < counters.dropped.total().packets, "an outage also takes what is on its direction");
    assert!(counters.dropped.lost.packets > 0 && counters.dropped.queue_full.packets > 0);
}

#[test]
fn a_seed_replays_to_the_nanosecond() {
    let conditions = Conditions { loss: Loss::Random { share: 0.05 }, jitter: 5 * MS, ..CLEAN };
    let run = || Bench::new(conditions).run(5000, MS);
    assert_eq!(run(), run());
}

#[test]
fn the_policer_takes_udp_only() {
    let udp_rule = UdpRule::policed(Rate::mbit(6));
    let mut bench = Bench::new(Conditions { udp: udp_rule, ..CLEAN });
    let mut passed = 0;
    for n in 0..10_000 {
        // Half the link each.
        passed += u32::from(matches!(bench.admit(2 * n * MS, udp(FULL, 1, 2)), Verdict::Deliver(_)));
        assert!(matches!(bench.admit((2 * n + 1) * MS, tcp(FULL)), Verdict::Deliver(_)));
    }
    // 6 Mbit/s is what was sent: all of it passes.
    assert_eq!(passed, 10_000);

    let mut bench = Bench::new(Conditions { udp: UdpRule::policed(Rate::mbit(3)), ..CLEAN });
    let verdicts: Vec<_> = (0..10_000).map(|n| bench.admit(2 * n * MS, udp(FULL, 1, 2))).collect();
    let policed = verdicts.iter().filter(|verdict| **verdict == Verdict::Drop(DropCause::Policed)).count();
    assert!((4950..=5000).contains(&policed), "{policed}");
}

#[test]
fn blocked_udp_leaves_tcp_alone() {
    let mut bench = Bench::new(Conditions { udp: UdpRule::Blocked, ..CLEAN });
    assert_eq!(bench.admit(MS, udp(FULL, 1, 2)), Verdict::Drop(DropCause::UdpBlocked));
    assert!(matches!(bench.admit(MS, tcp(FULL)), Verdict::Deliver(_)));
}

#[test]
fn after_a_flow_is_blocked_a_new_source_port_gets_through() {
    let mut bench = Bench::new(CLEAN);
    assert!(matches!(bench.admit(MS, udp(FULL, 4001, 61443)), Verdict::Deliver(_)));
    let seen = bench.pipe.udp_flows().clone();
    bench.pipe.block_udp_flows(&seen);
    assert_eq!(bench.admit(2 * MS, udp(FULL, 4001, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(bench.admit(3 * MS, udp(FULL, 4002, 61443)), Verdict::Deliver(_)));

    bench.pipe.block_udp_port(61443);
    assert_eq!(bench.admit(4 * MS, udp(FULL, 4003, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(bench.admit(5 * MS, udp(FULL, 4003, 61444)), Verdict::Deliver(_)));
    bench.pipe.unblock_udp();
    assert!(matches!(bench.admit(6 * MS, udp(FULL, 4001, 61443)), Verdict::Deliver(_)));
}

#[test]
fn in_an_outage_nothing_goes_in_or_comes_out() {
    let mut bench = Bench::new(CLEAN);
    bench.pipe.outage_until(50 * MS);
    assert_eq!(bench.admit(49 * MS, tcp(FULL)), Verdict::Drop(DropCause::Outage));
    let arrives = bench.arrival(50 * MS, tcp(FULL));
    bench.pipe.outage_until(arrives + MS);
    assert!(!bench.pipe.arrive(arrives, FULL));
    assert_eq!(bench.pipe.counters().in_flight(), Traffic::default());
    assert!(bench.pipe.arrive(arrives + MS, FULL));
}

#[test]
fn a_new_rate_holds_for_what_is_queued_and_not_for_what_is_past_the_queue() {
    let mut bench = Bench::new(CLEAN);
    let timings = [bench.admit(MS, tcp(FULL)), bench.admit(MS, tcp(FULL)), bench.admit(MS, tcp(FULL))];
    let slower = Conditions { rate: Some(Rate::mbit(6)), ..CLEAN };
    let reschedule = bench.pipe.change(3 * MS, slower, 10 * FULL);
    let arrivals = timings.map(|verdict| match verdict {
        Verdict::Deliver(timing) => reschedule.apply(timing).arrives,
        Verdict::Drop(cause) => panic!("dropped: {cause:?}"),
    });
    assert_eq!(arrivals, [102 * MS, 103 * MS, 105 * MS]);
    assert_eq!(bench.arrival(3 * MS, tcp(FULL)), 107 * MS);
}

#[test]
fn a_faster_link_does_not_wait_for_times_that_no_longer_hold() {
    let mut bench = Bench::new(CLEAN);
    for _ in 0..10 {
        bench.arrival(Duration::ZERO, tcp(FULL));
    }
    let faster = Conditions { rate: Some(Rate::mbit(120)), ..CLEAN };
    bench.pipe.change(Duration::ZERO, faster, 100 * FULL);
    assert_eq!(bench.arrival(Duration::ZERO, tcp(FULL)), 101 * MS + MS / 10);
}

#[test]
fn a_shorter_link_still_delivers_in_order() {
    let mut bench = Bench::new(CLEAN);
    let first = bench.arrival(Duration::ZERO, tcp(FULL));
    bench.pipe.change(MS, Conditions { delay: MS, ..CLEAN }, 10 * FULL);
    assert_eq!(bench.arrival(2 * MS, tcp(FULL)), first);
    assert_eq!(bench.arrival(200 * MS, tcp(FULL)), 202 * MS);
}
