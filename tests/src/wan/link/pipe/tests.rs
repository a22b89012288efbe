//! The core, stepped by hand: each packet's fate and timing is known in advance, or known in the mean.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::wan::link::{
    conditions::{Loss, Outages, UdpRule},
    packet::Payload,
    rate::Rate,
};

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

/// A direction with its random number generator.
struct TestPipe {
    pipe: Pipe,
    rng: Pcg64Mcg,
}

impl TestPipe {
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

    /// Sends full packets at `interval`; each is delivered on time or dropped.
    fn run(&mut self, packets: u32, interval: Duration) -> Vec<Verdict> {
        let verdicts: Vec<_> = (0..packets).map(|n| self.admit(n * interval, tcp(FULL))).collect();
        for verdict in &verdicts {
            if let Verdict::Deliver(timing) = verdict
                && self.pipe.arrive(timing.arrives, FULL)
            {
                self.pipe.record_handover(FULL, true);
            }
        }
        verdicts
    }
}

#[test]
fn a_packet_waits_for_the_bottleneck_and_then_the_delay() {
    let mut test = TestPipe::new(CLEAN);
    assert_eq!(test.arrival(50 * MS, tcp(FULL)), 151 * MS);
    assert_eq!(test.arrival(50 * MS, tcp(FULL)), 152 * MS);
    assert_eq!(test.arrival(60 * MS, tcp(FULL / 2)), 160 * MS + MS / 2);
}

#[test]
fn a_full_queue_drops_packets() {
    let mut test = TestPipe::new(CLEAN);
    let verdicts: Vec<_> = (0..30).map(|_| test.admit(MS, tcp(FULL))).collect();
    assert!(verdicts[..10].iter().all(|verdict| matches!(verdict, Verdict::Deliver(_))));
    assert!(verdicts[10..].iter().all(|verdict| *verdict == Verdict::Drop(DropCause::QueueFull)));
    assert_eq!(test.pipe.peak_queue(), 10 * FULL);
}

#[test]
fn jitter_delays_and_never_reorders() {
    let mut test = TestPipe::new(Conditions { jitter: 20 * MS, rate: None, ..CLEAN });
    let arrivals: Vec<_> = (0..1000).map(|n| (n * MS, test.arrival(n * MS, tcp(100)))).collect();
    assert!(arrivals.is_sorted_by_key(|(_, arrives)| *arrives));
    let delays: Vec<_> = arrivals.iter().map(|(sent, arrives)| *arrives - *sent).collect();
    assert!(delays.iter().all(|delay| (100 * MS..=120 * MS).contains(delay)));
    assert!(delays.iter().min().unwrap() < &(105 * MS) && delays.iter().max().unwrap() > &(115 * MS));
}

#[test]
fn only_loss_after_the_queue_uses_capacity() {
    const PACKETS: u32 = 100_000;
    let delivered = |loss_point| {
        let loss = Loss::Random { share: 0.2 };
        let mut test = TestPipe::new(Conditions { loss, loss_point, ..CLEAN });
        // Offered at twice the rate, so that the bottleneck is never idle.
        test.run(PACKETS, MS / 2);
        f64::from(u32::try_from(test.pipe.counters().delivered.packets).unwrap())
    };
    let full = f64::from(PACKETS / 2);
    assert!((delivered(LossPoint::BeforeQueue) / full - 1.0).abs() < 0.01);
    assert!((delivered(LossPoint::AfterQueue) / full - 0.8).abs() < 0.01);
}

#[test]
fn every_packet_is_delivered_or_dropped() {
    let conditions = Conditions {
        loss: Loss::Bursty { share: 0.05, burst: 4.0 },
        jitter: 5 * MS,
        outages: Some(Outages { period: 1000 * MS, duration: 50 * MS }),
        ..CLEAN
    };
    let mut test = TestPipe::new(conditions);
    let verdicts = test.run(20_000, MS * 2 / 3);
    let counters = test.pipe.counters();
    assert_eq!(counters.offered, Traffic { packets: 20_000, bytes: 20_000 * FULL });
    assert_eq!(counters.offered, counters.delivered + counters.dropped.total());
    assert_eq!(counters.in_flight(), Traffic::default());
    let dropped = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Drop(_))).count() as u64;
    assert!(dropped < counters.dropped.total().packets, "an outage also drops packets in flight");
    assert!(counters.dropped.lost.packets > 0 && counters.dropped.queue_full.packets > 0);
}

#[test]
fn the_same_seed_gives_the_same_timing() {
    let conditions = Conditions { loss: Loss::Random { share: 0.05 }, jitter: 5 * MS, ..CLEAN };
    let run = || TestPipe::new(conditions).run(5000, MS);
    assert_eq!(run(), run());
}

#[test]
fn the_policer_drops_udp_only() {
    let udp_rule = UdpRule::policed(Rate::mbit(6));
    let mut test = TestPipe::new(Conditions { udp: udp_rule, ..CLEAN });
    let mut passed = 0;
    for n in 0..10_000 {
        // Each of UDP and TCP sends at half the link's rate.
        passed += u32::from(matches!(test.admit(2 * n * MS, udp(FULL, 1, 2)), Verdict::Deliver(_)));
        assert!(matches!(test.admit((2 * n + 1) * MS, tcp(FULL)), Verdict::Deliver(_)));
    }
    // 6 Mbit/s is the rate of the UDP flow: all of it passes.
    assert_eq!(passed, 10_000);

    let mut test = TestPipe::new(Conditions { udp: UdpRule::policed(Rate::mbit(3)), ..CLEAN });
    let verdicts: Vec<_> = (0..10_000).map(|n| test.admit(2 * n * MS, udp(FULL, 1, 2))).collect();
    let policed = verdicts.iter().filter(|verdict| **verdict == Verdict::Drop(DropCause::Policed)).count();
    assert!((4950..=5000).contains(&policed), "{policed}");
}

#[test]
fn blocked_udp_leaves_tcp_alone() {
    let mut test = TestPipe::new(Conditions { udp: UdpRule::Blocked, ..CLEAN });
    assert_eq!(test.admit(MS, udp(FULL, 1, 2)), Verdict::Drop(DropCause::UdpBlocked));
    assert!(matches!(test.admit(MS, tcp(FULL)), Verdict::Deliver(_)));
}

#[test]
fn a_new_source_port_passes_a_block_of_flows() {
    let mut test = TestPipe::new(CLEAN);
    assert!(matches!(test.admit(MS, udp(FULL, 4001, 61443)), Verdict::Deliver(_)));
    let flows = test.pipe.udp_flows().clone();
    test.pipe.block_udp_flows(&flows);
    assert_eq!(test.admit(2 * MS, udp(FULL, 4001, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(test.admit(3 * MS, udp(FULL, 4002, 61443)), Verdict::Deliver(_)));

    test.pipe.block_udp_port(61443);
    assert_eq!(test.admit(4 * MS, udp(FULL, 4003, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(test.admit(5 * MS, udp(FULL, 4003, 61444)), Verdict::Deliver(_)));
    test.pipe.unblock_udp();
    assert!(matches!(test.admit(6 * MS, udp(FULL, 4001, 61443)), Verdict::Deliver(_)));
}

#[test]
fn in_an_outage_no_packet_enters_or_leaves() {
    let mut test = TestPipe::new(CLEAN);
    test.pipe.outage_until(50 * MS);
    assert_eq!(test.admit(49 * MS, tcp(FULL)), Verdict::Drop(DropCause::Outage));
    let arrives = test.arrival(50 * MS, tcp(FULL));
    test.pipe.outage_until(arrives + MS);
    assert!(!test.pipe.arrive(arrives, FULL));
    assert_eq!(test.pipe.counters().in_flight(), Traffic::default());
    assert!(test.pipe.arrive(arrives + MS, FULL));
}

#[test]
fn a_new_rate_changes_only_queued_packets() {
    let mut test = TestPipe::new(CLEAN);
    let timings = [test.admit(MS, tcp(FULL)), test.admit(MS, tcp(FULL)), test.admit(MS, tcp(FULL))];
    let slower = Conditions { rate: Some(Rate::mbit(6)), ..CLEAN };
    let reschedule = test.pipe.change(3 * MS, slower, 10 * FULL);
    let arrivals = timings.map(|verdict| match verdict {
        Verdict::Deliver(timing) => reschedule.apply(timing).arrives,
        Verdict::Drop(cause) => panic!("dropped: {cause:?}"),
    });
    assert_eq!(arrivals, [102 * MS, 103 * MS, 105 * MS]);
    assert_eq!(test.arrival(3 * MS, tcp(FULL)), 107 * MS);
}

#[test]
fn a_faster_link_delivers_sooner() {
    let mut test = TestPipe::new(CLEAN);
    for _ in 0..10 {
        test.arrival(Duration::ZERO, tcp(FULL));
    }
    let faster = Conditions { rate: Some(Rate::mbit(120)), ..CLEAN };
    test.pipe.change(Duration::ZERO, faster, 100 * FULL);
    assert_eq!(test.arrival(Duration::ZERO, tcp(FULL)), 101 * MS + MS / 10);
}

#[test]
fn a_shorter_link_still_delivers_in_order() {
    let mut test = TestPipe::new(CLEAN);
    let first = test.arrival(Duration::ZERO, tcp(FULL));
    test.pipe.change(MS, Conditions { delay: MS, ..CLEAN }, 10 * FULL);
    assert_eq!(test.arrival(2 * MS, tcp(FULL)), first);
    assert_eq!(test.arrival(200 * MS, tcp(FULL)), 202 * MS);
}
