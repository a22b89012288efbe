//! The core, stepped by hand: each packet's fate and timing is known in advance, or known in the mean.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::wan::link::{
    conditions::{Loss, Recurrence},
    middlebox::rules::{QuicRejection, TcpRule, UdpRule},
    packet::{Datagram, Payload, Protocol, Segment},
    rate::Rate,
};

const MS: Duration = Duration::from_millis(1);
/// A full packet takes a millisecond.
const RATE: Rate = Rate::mbit(12);
const FULL: u64 = 1500;
const CLEAN: Conditions = Conditions::clean(RATE, Duration::from_millis(200));

fn tcp(bytes: u64) -> Packet {
    segment(bytes, 1, 2)
}

fn segment(bytes: u64, from: u16, to: u16) -> Packet {
    let flow = Flow::between(Protocol::Tcp, from, to);
    let segment = Segment { flow, bytes: bytes - 40, is_syn: bytes == 40, is_server_hello: false };
    Packet { bytes, is_ipv6: false, payload: Payload::Tcp(Some(segment)) }
}

fn udp(bytes: u64, from: u16, to: u16) -> Packet {
    let flow = Flow::between(Protocol::Udp, from, to);
    let datagram = Datagram { flow, bytes: bytes - 28 };
    Packet { bytes, is_ipv6: false, payload: Payload::Udp(Some(datagram)) }
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
                && self.pipe.arrive(timing.arrives, &tcp(FULL))
            {
                self.pipe.record_handover(&tcp(FULL), true);
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
        outages: Some(Recurrence { period: 1000 * MS, duration: 50 * MS }),
        ..CLEAN
    };
    let mut test = TestPipe::new(conditions);
    let verdicts = test.run(20_000, MS * 2 / 3);
    let counters = test.pipe.counters();
    assert_eq!(counters.offered, Traffic { packets: 20_000, bytes: 20_000 * FULL });
    assert_eq!(counters.offered, counters.delivered + counters.dropped.total());
    assert_eq!(counters.in_flight(), Traffic::default());
    assert_eq!(counters.delivered, counters.delivered_tcp);
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
    let flows = test.pipe.flows().clone();
    test.pipe.block_flows(&flows);
    assert_eq!(test.admit(2 * MS, udp(FULL, 4001, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(test.admit(3 * MS, udp(FULL, 4002, 61443)), Verdict::Deliver(_)));

    assert!(matches!(test.admit(3 * MS, segment(FULL, 4001, 61443)), Verdict::Deliver(_)), "TCP");

    test.pipe.block_port(61443);
    assert_eq!(test.admit(4 * MS, udp(FULL, 4003, 61443)), Verdict::Drop(DropCause::FlowBlocked));
    assert!(matches!(test.admit(5 * MS, udp(FULL, 4003, 61444)), Verdict::Deliver(_)));
    test.pipe.unblock();
    assert!(matches!(test.admit(6 * MS, udp(FULL, 4001, 61443)), Verdict::Deliver(_)));
}

#[test]
fn a_policer_that_works_at_times_passes_all_at_others() {
    let times = Some(Recurrence { period: 60_000 * MS, duration: 20_000 * MS });
    let rule = UdpRule::Policed { rate: Rate::mbit(6), burst: 2 * FULL, times };
    let mut test = TestPipe::new(Conditions { udp: rule, ..CLEAN });
    let mut passed = |from: u32| {
        let verdicts = (from..from + 10_000).map(|n| test.admit(n * MS, udp(FULL, 1, 2)));
        verdicts.filter(|verdict| matches!(verdict, Verdict::Deliver(_))).count()
    };
    assert_eq!(passed(20_000), 10_000);
    // The rate passes half of the packets, and one burst besides.
    assert!((5000..=5002).contains(&passed(45_000)));
    assert_eq!(passed(70_000), 10_000);
}

#[test]
fn a_limited_flow_ends_and_another_begins() {
    let mut test = TestPipe::new(Conditions { udp: UdpRule::Limited { bytes: 3 * 1472 }, ..CLEAN });
    let verdicts: Vec<_> = (0..5).map(|n| test.admit(n * MS, udp(FULL, 1, 2))).collect();
    assert!(verdicts[..3].iter().all(|verdict| matches!(verdict, Verdict::Deliver(_))));
    assert_eq!(verdicts[3..], [Verdict::Drop(DropCause::Frozen); 2]);
    assert!(matches!(test.admit(6 * MS, udp(FULL, 3, 2)), Verdict::Deliver(_)));
    assert!(matches!(test.admit(7 * MS, tcp(FULL)), Verdict::Deliver(_)));
}

#[test]
fn a_frozen_connection_passes_nothing_and_a_new_one_begins() {
    let mut test = TestPipe::new(Conditions { tcp: TcpRule::Frozen { bytes: 2 * 1460 }, ..CLEAN });
    let mut connection = |from| {
        let mut admit = |bytes| match test.admit(MS, segment(bytes, from, 443)) {
            Verdict::Deliver(_) => None,
            Verdict::Drop(cause) => Some(cause),
        };
        // SYN, two segments, a third that is too much, an acknowledgement.
        [admit(40), admit(FULL), admit(FULL), admit(FULL), admit(52)]
    };
    let frozen = Some(DropCause::Frozen);
    assert_eq!(connection(1), [None, None, None, frozen, frozen]);
    assert_eq!(connection(1), [None, None, None, frozen, frozen], "the same ports again");
    assert!(matches!(test.admit(MS, udp(FULL, 1, 443)), Verdict::Deliver(_)));
}

#[test]
fn only_the_server_hello_is_dropped() {
    let mut test = TestPipe::new(Conditions { tcp: TcpRule::NoServerHello, ..CLEAN });
    let mut hello = segment(FULL, 443, 1);
    if let Payload::Tcp(Some(segment)) = &mut hello.payload {
        segment.is_server_hello = true;
    }
    assert_eq!(test.admit(MS, hello), Verdict::Drop(DropCause::ServerHello));
    assert_eq!(test.admit(2 * MS, hello), Verdict::Drop(DropCause::ServerHello), "sent again");
    assert!(matches!(test.admit(3 * MS, segment(FULL, 443, 1)), Verdict::Deliver(_)));
}

#[test]
fn one_port_is_reset_and_its_udp_dropped() {
    let mut test = TestPipe::new(Conditions { reset_port: Some(443), ..CLEAN });
    assert_eq!(test.admit(MS, segment(40, 1, 443)), Verdict::Drop(DropCause::Reset));
    assert_eq!(test.admit(MS, udp(FULL, 443, 1)), Verdict::Drop(DropCause::FlowBlocked));
    for packet in [segment(40, 1, 61443), udp(FULL, 1, 61443)] {
        assert!(matches!(test.admit(MS, packet), Verdict::Deliver(_)));
    }
    test.pipe.change(2 * MS, CLEAN, 10 * FULL);
    assert!(matches!(test.admit(3 * MS, segment(40, 1, 443)), Verdict::Deliver(_)));
}

#[test]
fn tcp_and_ipv6_can_be_blocked() {
    let ipv6 = Packet { is_ipv6: true, ..udp(FULL, 1, 2) };
    let mut test = TestPipe::new(Conditions { tcp: TcpRule::Blocked, drops_ipv6: true, ..CLEAN });
    assert_eq!(test.admit(MS, tcp(FULL)), Verdict::Drop(DropCause::TcpBlocked));
    assert_eq!(test.admit(MS, ipv6), Verdict::Drop(DropCause::Ipv6Blocked));
    assert!(matches!(test.admit(MS, udp(FULL, 1, 2)), Verdict::Deliver(_)));
}

#[test]
fn rejected_udp_is_dropped_and_a_forged_packet_passes_every_filter() {
    let udp_rule = UdpRule::Rejected(QuicRejection::Retry);
    let mut test = TestPipe::new(Conditions { udp: udp_rule, loss: Loss::Random { share: 1.0 }, ..CLEAN });
    assert_eq!(test.admit(MS, udp(FULL, 1, 2)), Verdict::Drop(DropCause::QuicRejected));
    let forged = test.pipe.admit_forged(MS, &udp(FULL, 1, 2), &mut test.rng);
    assert_eq!(forged, Verdict::Deliver(Timing { departs: 2 * MS, arrives: 102 * MS }));
    assert_eq!(test.pipe.counters().offered.packets, 2);
}

#[test]
fn in_an_outage_no_packet_enters_or_leaves() {
    let mut test = TestPipe::new(CLEAN);
    test.pipe.outage_until(50 * MS);
    assert_eq!(test.admit(49 * MS, tcp(FULL)), Verdict::Drop(DropCause::Outage));
    let arrives = test.arrival(50 * MS, tcp(FULL));
    test.pipe.outage_until(arrives + MS);
    assert!(!test.pipe.arrive(arrives, &tcp(FULL)));
    assert_eq!(test.pipe.counters().in_flight(), Traffic::default());
    assert!(test.pipe.arrive(arrives + MS, &tcp(FULL)));
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
