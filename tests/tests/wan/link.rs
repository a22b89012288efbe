//! A link does to real packets what it says, at the time it says.
//! Must never expect more of the clock than a millisecond.

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

use crate::testbed::{MS, REPLY_TIMEOUT, Testbed, UDP_HEADERS, UdpSockets, received};

/// 100 Mbit/s.
const CLEAN: Conditions = Conditions::clean(Rate::mbit(100), Duration::from_millis(20));

/// Long enough for a queue of [`CLEAN`] to fill.
const QUEUE_FILL_TIME: Duration = Duration::from_millis(300);

/// What a ping on [`CLEAN`] is given before it counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(100);

#[test]
fn a_round_trip_takes_what_it_should_within_a_millisecond() -> Result<()> {
    for named in [presets::CLEAN_METRO, presets::TRANSPACIFIC] {
        let testbed = Testbed::new(named.link)?;
        testbed.udp()?.assert_round_trip(named.link.rtt())?;
        testbed.assert_adds_up()?;
    }
    Ok(())
}

#[test]
fn tcp_gets_the_rate_of_the_bottleneck() -> Result<()> {
    let testbed = Testbed::symmetric(CLEAN)?;
    let (mut left, right) = testbed.tcp()?;
    thread::scope(|scope| {
        scope.spawn(move || while left.write_all(&[0; 64 * 1024]).is_ok() {});
        let reader = right.try_clone()?;
        scope.spawn(move || while matches!((&reader).read(&mut [0; 64 * 1024]), Ok(1..)) {});
        let result = testbed.assert_throughput(Rate::mbit(100));
        // Ends both of them.
        right.shutdown(Shutdown::Both)?;
        result
    })?;
    testbed.assert_adds_up()
}

#[test]
fn udp_gets_the_rate_and_the_queue_drops_the_rest() -> Result<()> {
    let testbed = Testbed::symmetric(CLEAN)?;
    testbed.while_flooded(Rate::mbit(130), || {
        thread::sleep(QUEUE_FILL_TIME);
        testbed.assert_throughput(Rate::mbit(100))
    })?;
    let way = testbed.left_to_right()?;
    assert!(way.counters.dropped.queue_full.packets > 0);
    assert_eq!(way.counters.dropped.total(), way.counters.dropped.queue_full);
    // One bandwidth-delay product, but for the packet that no longer fits.
    assert!((248_500..=250_000).contains(&way.peak_queue), "{}", way.peak_queue);
    testbed.assert_adds_up()
}

#[test]
fn what_arrives_is_what_the_counters_say() -> Result<()> {
    const ROUNDS: u64 = 50;
    /// No more than the receiving socket holds.
    const PACKETS: u64 = 100;
    let testbed =
        Testbed::symmetric(Conditions { loss: Loss::Random { share: 0.05 }, ..Conditions::PERFECT })?;
    let UdpSockets { left, right } = testbed.udp()?;
    right.set_nonblocking(true)?;
    let mut arrived = 0;
    for round in 1..=ROUNDS {
        for _ in 0..PACKETS {
            left.send(b"packet")?;
        }
        // They are offered only once the emulator has read them.
        let deadline = Instant::now() + REPLY_TIMEOUT;
        while testbed.left_to_right()?.counters.offered.packets < round * PACKETS && Instant::now() < deadline
        {
            thread::sleep(MS);
        }
        testbed.assert_adds_up()?;
        while received(right.recv(&mut [0; 16]))?.is_some() {
            arrived += 1;
        }
    }
    let counters = testbed.left_to_right()?.counters;
    let packets = ROUNDS * PACKETS;
    assert_eq!(counters.offered, Traffic { packets, bytes: packets * (6 + UDP_HEADERS) });
    assert_eq!(counters.delivered.packets, arrived);
    assert_eq!(counters.dropped.total(), counters.dropped.lost);
    // Five standard deviations around 250; where in there is the seed's choice.
    assert!((173..=327).contains(&counters.dropped.lost.packets), "{:?}", counters.dropped.lost);
    Ok(())
}

#[test]
fn udp_is_policed() -> Result<()> {
    let testbed = Testbed::symmetric(Conditions { udp: UdpRule::policed(Rate::mbit(20)), ..CLEAN })?;
    testbed.while_flooded(Rate::mbit(60), || {
        thread::sleep(QUEUE_FILL_TIME);
        testbed.assert_throughput(Rate::mbit(20))
    })?;
    assert!(testbed.left_to_right()?.counters.dropped.policed.packets > 0);
    testbed.assert_adds_up()
}

#[test]
fn where_udp_is_blocked_tcp_gets_through() -> Result<()> {
    let testbed = Testbed::symmetric(Conditions { udp: UdpRule::Blocked, ..CLEAN })?;
    assert_eq!(testbed.udp()?.ping(LOST_AFTER)?, None);
    let (mut left, mut right) = testbed.tcp()?;
    left.write_all(b"hello")?;
    right.read_exact(&mut [0; 5])?;
    assert_eq!(testbed.left_to_right()?.counters.dropped.udp_blocked.packets, 1);
    Ok(())
}

#[test]
fn after_its_flow_is_blocked_the_server_is_reached_from_a_new_port_only() -> Result<()> {
    let testbed = Testbed::symmetric(CLEAN)?;
    let mut sockets = testbed.udp()?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    testbed.wan.block_udp_flows();
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    sockets.rebind(&testbed.pair.left)?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());

    testbed.wan.block_udp_port(sockets.right.local_addr()?.port());
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    testbed.wan.unblock_udp();
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    testbed.assert_adds_up()
}

#[test]
fn an_outage_swallows_everything_until_it_ends() -> Result<()> {
    let testbed = Testbed::symmetric(CLEAN)?;
    let sockets = testbed.udp()?;
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    testbed.wan.outage(REPLY_TIMEOUT * 6);
    assert_eq!(sockets.ping(LOST_AFTER)?, None);
    testbed.wan.outage(Duration::ZERO);
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    testbed.wan.outage(LOST_AFTER);
    thread::sleep(LOST_AFTER);
    assert!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    assert_eq!(testbed.left_to_right()?.counters.dropped.outage.packets, 1);
    testbed.assert_adds_up()
}

#[test]
fn a_link_changes_under_what_runs_on_it() -> Result<()> {
    let testbed = Testbed::symmetric(Conditions { rate: Some(Rate::mbit(50)), ..CLEAN })?;
    testbed.wan.change(|link| link.right_to_left.delay = 40 * MS);
    testbed.udp()?.assert_round_trip(50 * MS)?;
    testbed.while_flooded(Rate::mbit(60), || {
        thread::sleep(QUEUE_FILL_TIME);
        testbed.assert_throughput(Rate::mbit(50))?;
        testbed.wan.change(|link| link.left_to_right.rate = Some(Rate::mbit(20)));
        // What is past the queue is still of the old rate.
        thread::sleep(QUEUE_FILL_TIME);
        testbed.assert_throughput(Rate::mbit(20))
    })?;
    testbed.assert_adds_up()
}

#[test]
fn a_link_joins_namespaces_that_others_made() -> Result<()> {
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
    let testbed = Testbed::symmetric(CLEAN)?;
    let devices =
        || run_in_namespace(&testbed.pair.left.namespace, || fs::read_to_string("/proc/thread-self/net/dev"));
    assert!(devices()??.contains("wan0:"));
    let second = Wan::join(&testbed.pair.left, &testbed.pair.right, presets::TRANSPACIFIC.link, 1)?;
    assert!(devices()??.contains("wan1:"), "two links between the same namespaces");
    drop(second);
    assert!(!devices()??.contains("wan1:"));

    let namespace = Path::new("/var/run/netns").join(&testbed.pair.left.namespace);
    let Testbed { wan, pair, .. } = testbed;
    drop(pair);
    assert!(!namespace.exists());
    assert!(
        matches!(wan.report(), Err(Error::Enter { .. })),
        "a link outlives its namespaces, though useless"
    );
    Ok(())
}
