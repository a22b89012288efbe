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
    wan::{Conditions, End, Error, Loss, Rate, Tally, Udp, Wan, inside, ladder},
};

use crate::world::{MS, PATIENCE, UDP_HEADERS, UdpSockets, World, received};

/// 100 Mbit/s.
const CLEAN: Conditions = Conditions::clean(Rate::mbit(100), Duration::from_millis(20));

/// Long enough for a queue of [`CLEAN`] to fill.
const FILL: Duration = Duration::from_millis(300);

/// What a ping on [`CLEAN`] is given before it counts as lost.
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_round_trip_takes_what_it_should_within_a_millisecond() -> Result<()> {
    for named in [ladder::CLEAN_METRO, ladder::TRANSPACIFIC] {
        let world = World::new(named.link)?;
        world.udp()?.assert_round_trip(named.link.rtt())?;
        world.assert_adds_up()?;
    }
    Ok(())
}

#[test]
fn tcp_gets_the_rate_of_the_bottleneck() -> Result<()> {
    let world = World::symmetric(CLEAN)?;
    let (mut left, right) = world.tcp()?;
    thread::scope(|scope| {
        scope.spawn(move || while left.write_all(&[0; 64 * 1024]).is_ok() {});
        let reader = right.try_clone()?;
        scope.spawn(move || while matches!((&reader).read(&mut [0; 64 * 1024]), Ok(1..)) {});
        let result = world.assert_throughput(Rate::mbit(100));
        // Ends both of them.
        right.shutdown(Shutdown::Both)?;
        result
    })?;
    world.assert_adds_up()
}

#[test]
fn udp_gets_the_rate_and_the_queue_drops_the_rest() -> Result<()> {
    let world = World::symmetric(CLEAN)?;
    world.while_flooded(Rate::mbit(130), || {
        thread::sleep(FILL);
        world.assert_throughput(Rate::mbit(100))
    })?;
    let way = world.left_to_right()?;
    assert!(way.counters.dropped.queue_full.packets > 0);
    assert_eq!(way.counters.dropped.total(), way.counters.dropped.queue_full);
    // One bandwidth-delay product, but for the packet that no longer fits.
    assert!((248_500..=250_000).contains(&way.peak_queue), "{}", way.peak_queue);
    world.assert_adds_up()
}

#[test]
fn what_arrives_is_what_the_counters_say() -> Result<()> {
    const ROUNDS: u64 = 50;
    /// No more than the receiving socket holds.
    const PACKETS: u64 = 100;
    let world = World::symmetric(Conditions { loss: Loss::Random { share: 0.05 }, ..Conditions::PERFECT })?;
    let UdpSockets { left, right } = world.udp()?;
    right.set_nonblocking(true)?;
    let mut arrived = 0;
    for round in 1..=ROUNDS {
        for _ in 0..PACKETS {
            left.send(b"packet")?;
        }
        // They are offered only once the emulator has read them.
        let deadline = Instant::now() + PATIENCE;
        while world.left_to_right()?.counters.offered.packets < round * PACKETS && Instant::now() < deadline {
            thread::sleep(MS);
        }
        world.assert_adds_up()?;
        while received(right.recv(&mut [0; 16]))?.is_some() {
            arrived += 1;
        }
    }
    let counters = world.left_to_right()?.counters;
    let packets = ROUNDS * PACKETS;
    assert_eq!(counters.offered, Tally { packets, bytes: packets * (6 + UDP_HEADERS) });
    assert_eq!(counters.delivered.packets, arrived);
    assert_eq!(counters.dropped.total(), counters.dropped.lost);
    // Five standard deviations around 250; where in there is the seed's choice.
    assert!((173..=327).contains(&counters.dropped.lost.packets), "{:?}", counters.dropped.lost);
    Ok(())
}

#[test]
fn udp_is_policed() -> Result<()> {
    let world = World::symmetric(Conditions { udp: Udp::policed(Rate::mbit(20)), ..CLEAN })?;
    world.while_flooded(Rate::mbit(60), || {
        thread::sleep(FILL);
        world.assert_throughput(Rate::mbit(20))
    })?;
    assert!(world.left_to_right()?.counters.dropped.policed.packets > 0);
    world.assert_adds_up()
}

#[test]
fn where_udp_is_blocked_tcp_gets_through() -> Result<()> {
    let world = World::symmetric(Conditions { udp: Udp::Blocked, ..CLEAN })?;
    assert_eq!(world.udp()?.ping(SHORT)?, None);
    let (mut left, mut right) = world.tcp()?;
    left.write_all(b"hello")?;
    right.read_exact(&mut [0; 5])?;
    assert_eq!(world.left_to_right()?.counters.dropped.udp_blocked.packets, 1);
    Ok(())
}

#[test]
fn after_its_flow_is_blocked_the_server_is_reached_from_a_new_port_only() -> Result<()> {
    let world = World::symmetric(CLEAN)?;
    let mut sockets = world.udp()?;
    assert!(sockets.ping(PATIENCE)?.is_some());
    world.wan.block_udp_flows();
    assert_eq!(sockets.ping(SHORT)?, None);
    sockets.rebind(&world.pair.left)?;
    assert!(sockets.ping(PATIENCE)?.is_some());

    world.wan.block_udp_port(sockets.right.local_addr()?.port());
    assert_eq!(sockets.ping(SHORT)?, None);
    world.wan.unblock_udp();
    assert!(sockets.ping(PATIENCE)?.is_some());
    world.assert_adds_up()
}

#[test]
fn an_outage_swallows_everything_until_it_ends() -> Result<()> {
    let world = World::symmetric(CLEAN)?;
    let sockets = world.udp()?;
    assert!(sockets.ping(PATIENCE)?.is_some());
    world.wan.outage(PATIENCE * 6);
    assert_eq!(sockets.ping(SHORT)?, None);
    world.wan.outage(Duration::ZERO);
    assert!(sockets.ping(PATIENCE)?.is_some());
    world.wan.outage(SHORT);
    thread::sleep(SHORT);
    assert!(sockets.ping(PATIENCE)?.is_some());
    assert_eq!(world.left_to_right()?.counters.dropped.outage.packets, 1);
    world.assert_adds_up()
}

#[test]
fn a_link_changes_under_what_runs_on_it() -> Result<()> {
    let world = World::symmetric(Conditions { rate: Some(Rate::mbit(50)), ..CLEAN })?;
    world.wan.change(|link| link.right_to_left.delay = 40 * MS);
    world.udp()?.assert_round_trip(50 * MS)?;
    world.while_flooded(Rate::mbit(60), || {
        thread::sleep(FILL);
        world.assert_throughput(Rate::mbit(50))?;
        world.wan.change(|link| link.left_to_right.rate = Some(Rate::mbit(20)));
        // What is past the queue is still of the old rate.
        thread::sleep(FILL);
        world.assert_throughput(Rate::mbit(20))
    })?;
    world.assert_adds_up()
}

#[test]
fn a_link_joins_namespaces_that_others_made() -> Result<()> {
    let lab = Lab::new()?;
    let laptop = End::new(lab.laptop.name(), Ipv4Addr::new(10, 63, 0, 1));
    let abroad = End::new(lab.abroad.name(), Ipv4Addr::new(10, 63, 0, 2));
    let wan = Wan::join(&laptop, &abroad, ladder::TRANSPACIFIC.link, 1)?;
    let ping = UdpSockets::between(&laptop, &abroad)?.ping(PATIENCE)?;
    assert!(ping >= Some(wan.link().rtt()), "{ping:?}");
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let world = World::symmetric(CLEAN)?;
    let devices = || inside(&world.pair.left.namespace, || fs::read_to_string("/proc/thread-self/net/dev"));
    assert!(devices()??.contains("wan0:"));
    let second = Wan::join(&world.pair.left, &world.pair.right, ladder::TRANSPACIFIC.link, 1)?;
    assert!(devices()??.contains("wan1:"), "two links between the same namespaces");
    drop(second);
    assert!(!devices()??.contains("wan1:"));

    let namespace = Path::new("/var/run/netns").join(&world.pair.left.namespace);
    let World { wan, pair, .. } = world;
    drop(pair);
    assert!(!namespace.exists());
    assert!(
        matches!(wan.report(), Err(Error::Enter { .. })),
        "a link outlives its namespaces, though useless"
    );
    Ok(())
}
