//! A link treats real packets as its conditions say, at the right time.
//! Must never expect the clock to be more exact than a millisecond.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use docxy_tests::{
    net::Lab,
    wan::{Conditions, End, Error, Loss, Rate, Traffic, UdpRule, Wan, presets, run_in_namespace},
};

use crate::support::test_link::{MS, REPLY_TIMEOUT, TestLink, UDP_HEADERS, UdpSockets, received};

/// 100 Mbit/s.
const CLEAN: Conditions = Conditions::clean(Rate::mbit(100), Duration::from_millis(20));

/// Long enough for a queue of [`CLEAN`] to fill.
const QUEUE_FILL_TIME: Duration = Duration::from_millis(300);

/// Timeout after which a ping on [`CLEAN`] counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(100);

#[test]
fn a_round_trip_is_exact_to_a_millisecond() -> Result<()> {
    for named in [presets::CLEAN_METRO, presets::TRANSPACIFIC] {
        let test_link = TestLink::new(named.link)?;
        test_link.udp()?.assert_round_trip(named.link.rtt())?;
        test_link.assert_all_accounted_for()?;
    }
    Ok(())
}

#[test]
fn tcp_gets_the_rate_of_the_bottleneck() -> Result<()> {
    let test_link = TestLink::symmetric(CLEAN)?;
    let (mut left, right) = test_link.tcp()?;
    thread::scope(|scope| {
        scope.spawn(move || while left.write_all(&[0; 64 * 1024]).is_ok() {});
        let reader = right.try_clone()?;
        scope.spawn(move || while matches!((&reader).read(&mut [0; 64 * 1024]), Ok(1..)) {});
        let result = test_link.assert_throughput(Rate::mbit(100));
        // Ends both threads.
        right.shutdown(Shutdown::Both)?;
        result
    })?;
    test_link.assert_all_accounted_for()
}

#[test]
fn udp_gets_the_rate_and_the_full_queue_drops_the_rest() -> Result<()> {
    let test_link = TestLink::symmetric(CLEAN)?;
    test_link.while_flooded(Rate::mbit(130), || {
        thread::sleep(QUEUE_FILL_TIME);
        test_link.assert_throughput(Rate::mbit(100))
    })?;
    let way = test_link.left_to_right()?;
    assert!(way.counters.dropped.queue_full.packets > 0);
    assert_eq!(way.counters.dropped.total(), way.counters.dropped.queue_full);
    // One bandwidth-delay product, less the packet that does not fit any more.
    assert!((248_500..=250_000).contains(&way.peak_queue), "{}", way.peak_queue);
    test_link.assert_all_accounted_for()
}

#[test]
fn counters_match_the_packets_that_arrive() -> Result<()> {
    const ROUNDS: u64 = 50;
    /// No more than the receiving socket's buffer holds.
    const PACKETS: u64 = 100;
    let test_link =
        TestLink::symmetric(Conditions { loss: Loss::Random { share: 0.05 }, ..Conditions::PERFECT })?;
    let UdpSockets { left, right } = test_link.udp()?;
    right.set_nonblocking(true)?;
    let mut arrived = 0;
    for round in 1..=ROUNDS {
        for _ in 0..PACKETS {
            left.send(b"packet")?;
        }
        // Packets count as offered once the emulator has read them.
        let deadline = Instant::now() + REPLY_TIMEOUT;
        while test_link.left_to_right()?.counters.offered.packets < round * PACKETS
            && Instant::now() < deadline
        {
            thread::sleep(MS);
        }
        test_link.assert_all_accounted_for()?;
        while received(right.recv(&mut [0; 16]))?.is_some() {
            arrived += 1;
        }
    }
    let counters = test_link.left_to_right()?.counters;
    let packets = ROUNDS * PACKETS;
    assert_eq!(counters.offered, Traffic { packets, bytes: packets * (6 + UDP_HEADERS) });
    assert_eq!(counters.delivered.packets, arrived);
    assert_eq!(counters.dropped.total(), counters.dropped.lost);
    // Five standard deviations around 250; the exact number depends on the seed.
    assert!((173..=327).contains(&counters.dropped.lost.packets), "{:?}", counters.dropped.lost);
    Ok(())
}

#[test]
fn udp_is_policed() -> Result<()> {
    let test_link = TestLink::symmetric(Conditions { udp: UdpRule::policed(Rate::mbit(20)), ..CLEAN })?;
    test_link.while_flooded(Rate::mbit(60), || {
        thread::sleep(QUEUE_FILL_TIME);
        test_link.assert_throughput(Rate::mbit(20))
    })?;
    assert!(test_link.left_to_right()?.counters.dropped.policed.packets > 0);
    test_link.assert_all_accounted_for()
}

#[test]
fn tcp_passes_a_link_that_blocks_udp() -> Result<()> {
    let test_link = TestLink::symmetric(Conditions { udp: UdpRule::Blocked, ..CLEAN })?;
    assert_eq!(test_link.udp()?.ping(LOST_AFTER)?, None);
    let (mut left, mut right) = test_link.tcp()?;
    left.write_all(b"hello")?;
    right.read_exact(&mut [0; 5])?;
    assert_eq!(test_link.left_to_right()?.counters.dropped.udp_blocked.packets, 1);
    Ok(())
}

#[test]
fn only_a_new_source_port_passes_a_block_of_flows() -> Result<()> {
    let test_link = TestLink::symmetric(CLEAN)?;
    let mut sockets = test_link.udp()?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    test_link.wan.block_flows();
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    sockets.rebind(&test_link.pair.left)?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());

    test_link.wan.block_port(sockets.right.local_addr()?.port());
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    test_link.wan.unblock();
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    test_link.assert_all_accounted_for()
}

#[test]
fn an_outage_drops_all_packets_until_it_ends() -> Result<()> {
    let test_link = TestLink::symmetric(CLEAN)?;
    let sockets = test_link.udp()?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    test_link.wan.outage(REPLY_TIMEOUT * 6);
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    test_link.wan.outage(Duration::ZERO);
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    test_link.wan.outage(LOST_AFTER);
    thread::sleep(LOST_AFTER);
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    assert_eq!(test_link.left_to_right()?.counters.dropped.outage.packets, 1);
    test_link.assert_all_accounted_for()
}

#[test]
fn a_link_changes_while_it_is_used() -> Result<()> {
    let test_link = TestLink::symmetric(Conditions { rate: Some(Rate::mbit(50)), ..CLEAN })?;
    test_link.wan.change(|link| link.right_to_left.delay = 40 * MS);
    test_link.udp()?.assert_round_trip(50 * MS)?;
    test_link.while_flooded(Rate::mbit(60), || {
        thread::sleep(QUEUE_FILL_TIME);
        test_link.assert_throughput(Rate::mbit(50))?;
        test_link.wan.change(|link| link.left_to_right.rate = Some(Rate::mbit(20)));
        // Packets past the queue still have the old rate's timing.
        thread::sleep(QUEUE_FILL_TIME);
        test_link.assert_throughput(Rate::mbit(20))
    })?;
    test_link.assert_all_accounted_for()
}

#[test]
fn a_link_joins_existing_namespaces() -> Result<()> {
    let lab = Lab::new()?;
    let laptop = End::new(lab.laptop.name(), Ipv4Addr::new(10, 63, 0, 1));
    let abroad = End::new(lab.abroad.name(), Ipv4Addr::new(10, 63, 0, 2));
    let wan = Wan::join(&laptop, &abroad, presets::TRANSPACIFIC.link, 1)?;
    let ping = UdpSockets::between(&laptop, &abroad)?.ping(REPLY_TIMEOUT)?;
    assert!(ping >= Some(wan.link().rtt()), "{ping:?}");
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let test_link = TestLink::symmetric(CLEAN)?;
    let devices = || {
        run_in_namespace(&test_link.pair.left.namespace, || fs::read_to_string("/proc/thread-self/net/dev"))
    };
    assert!(devices()??.contains("wan0:"));
    let second = Wan::join(&test_link.pair.left, &test_link.pair.right, presets::TRANSPACIFIC.link, 1)?;
    assert!(devices()??.contains("wan1:"), "a second link between the same namespaces");
    drop(second);
    assert!(!devices()??.contains("wan1:"));

    let namespace = Path::new("/var/run/netns").join(&test_link.pair.left.namespace);
    let TestLink { wan, pair, .. } = test_link;
    drop(pair);
    assert!(!namespace.exists());
    assert!(
        matches!(wan.report(), Err(Error::Enter { .. })),
        "a link outlives its namespaces, but is useless"
    );
    Ok(())
}
