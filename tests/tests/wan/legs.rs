//! The client finds the leg, the port and the server that work, on every kind of network, and no engine sees an error.
//! Must never judge the speed: `scripts/bench legs` measures it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch, content_bytes},
    engine::Body,
    process::{connections_from, scratch},
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Counters, Direction, LinkPreset, UdpRule, Wan, presets},
};

/// Size of the blob: several windows of the links.
const BLOB_MIB: u64 = 32;

const MIB: u64 = 1 << 20;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The filters see a client with both legs, whatever the variant of the test run.
const AUTO: &[&str] = &["--leg=auto"];

/// The protocol that must carry a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Tcp,
    Udp,
}

/// A new client on this network answers a manifest request at once, without an error, and pulls a blob.
fn assert_carried(network: &LinkPreset, carrier: Carrier) -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let wan = lab.link(Abroad::FIRST, network.link, 1)?;
    let joined = lab.join(&network.link, AUTO)?;
    let client = lab.client(&joined.link, &joined.launch)?;
    lab.manifest(&client)?;
    let before = received(&wan);
    lab.pull(&client)?;
    let (tcp, udp) = by_protocol(before, received(&wan));
    let found = if tcp > udp { Carrier::Tcp } else { Carrier::Udp };
    ensure!(found == carrier, "{found:?} carried the pull: {tcp} bytes by TCP, {udp} by UDP");
    Ok(())
}

fn received(wan: &Wan) -> Counters {
    wan.counters(Direction::RightToLeft)
}

/// Bytes that arrived by TCP and by UDP.
fn by_protocol(before: Counters, after: Counters) -> (u64, u64) {
    let tcp = after.delivered_tcp - before.delivered_tcp;
    (tcp.bytes, (after.delivered - before.delivered - tcp).bytes)
}

/// Waits until a body has this many bytes.
fn wait_for(body: &Body, bytes: u64) -> Result<()> {
    let started = Instant::now();
    while body.bytes() < bytes {
        ensure!(started.elapsed() < TIMEOUT, "the pull does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn tcp_carries_where_udp_is_blocked() -> Result<()> {
    assert_carried(&presets::BLOCKED_UDP, Carrier::Tcp)
}

#[test]
fn tcp_carries_where_nothing_comes_back_by_udp() -> Result<()> {
    assert_carried(&presets::ONE_WAY_UDP, Carrier::Tcp)
}

#[test]
fn tcp_carries_where_quic_is_answered_with_an_error() -> Result<()> {
    assert_carried(&presets::QUIC_CRYPTO_ERROR, Carrier::Tcp)
}

#[test]
fn tcp_carries_where_quic_is_answered_with_retry() -> Result<()> {
    assert_carried(&presets::QUIC_RETRY, Carrier::Tcp)
}

#[test]
fn tcp_carries_where_quic_is_answered_with_other_versions() -> Result<()> {
    assert_carried(&presets::QUIC_VERSIONS, Carrier::Tcp)
}

#[test]
fn quic_carries_where_tcp_freezes() -> Result<()> {
    assert_carried(&presets::FROZEN_TCP, Carrier::Udp)
}

#[test]
fn quic_carries_where_no_server_hello_arrives() -> Result<()> {
    assert_carried(&presets::DROPPED_SERVERHELLO, Carrier::Udp)
}

#[test]
fn another_port_carries_where_one_is_reset() -> Result<()> {
    assert_carried(&presets::RESET_PORT, Carrier::Udp)
}

#[test]
fn ipv4_carries_where_ipv6_leads_nowhere() -> Result<()> {
    assert_carried(&presets::BLACK_HOLED_IPV6, Carrier::Udp)
}

#[test]
fn a_pull_goes_on_by_tcp_when_udp_is_blocked_in_its_middle() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let wan = lab.link(Abroad::FIRST, presets::TRANSPACIFIC.link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let client = lab.connected_client(&server.invite("laptop")?, &Launch::with(AUTO))?;
    let before = received(&wan);
    let body = lab.begin(&client)?;
    wait_for(&body, 8 * MIB)?;
    let in_flight = received(&wan).in_flight().bytes;
    wan.change(|link| link.both_mut().into_iter().for_each(|direction| direction.udp = UdpRule::Blocked));
    // UDP stays blocked, so the pull ends by TCP or never.
    let arrivals = lab.finish(body)?;
    let crossed = content_bytes(before, received(&wan));
    let twice = crossed.saturating_sub(arrivals.bytes());
    // The estimate of the content has an error of a few hundred thousand.
    ensure!(twice <= in_flight + 2 * MIB, "{twice} bytes crossed twice, {in_flight} were in flight");
    Ok(())
}

#[test]
fn a_pull_goes_on_by_the_other_server_when_one_dies() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let abroad = [Abroad::FIRST, Abroad::SECOND];
    let _links: Vec<Wan> = abroad
        .iter()
        .map(|abroad| lab.link(*abroad, presets::TRANSPACIFIC_50M.link, 1))
        .collect::<Result<_>>()?;
    let mut servers =
        abroad.iter().map(|abroad| lab.server(*abroad, &Launch::default())).collect::<Result<Vec<_>>>()?;
    let links = servers.iter().map(|server| server.invite("laptop")).collect::<Result<Vec<_>>>()?;
    let client = lab.connected_client(&(links.join("\n") + "\n"), &Launch::with(AUTO))?;
    let body = lab.begin(&client)?;
    wait_for(&body, 8 * MIB)?;
    servers[0].process().kill()?;
    lab.finish(body)?;
    // With one server left, the next pull works too.
    lab.pull(&client).map(drop)
}

/// The most TCP connections that this server sees from the laptop while `act` runs.
fn most_connections<T>(
    client: &mut Client,
    server: SocketAddr,
    act: impl FnOnce(&Client) -> Result<T>,
) -> Result<usize> {
    let pid = client.process().pid();
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(connections_from(pid, server), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let outcome = act(client);
        done.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(most.into_inner())
}

#[test]
fn a_server_sees_six_tcp_connections_at_most() -> Result<()> {
    const CONNECTIONS_MAX: usize = 6;
    let lab = TunnelLab::new(BLOB_MIB)?;
    let wan = lab.link(Abroad::FIRST, presets::TRANSPACIFIC.link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let mut client = lab.connected_client(&server.invite("laptop")?, &Launch::with(&["--leg=tcp"]))?;
    let folder = scratch()?;
    let most = most_connections(&mut client, server.address(), |client| {
        let image = folder.path().join("image").display().to_string();
        let body = lab.begin(client)?;
        wait_for(&body, 8 * MIB)?;
        thread::scope(|scope| {
            let pull = scope.spawn(|| client.command(&["pull", "wan/image", "-o", &image], TIMEOUT));
            // Every connection is lost, and no end knows.
            wan.block_flows();
            pull.join().expect("the command panicked")
        })?;
        lab.finish(body)
    })?;
    ensure!((1..=CONNECTIONS_MAX).contains(&most), "{most} connections");
    Ok(())
}

#[test]
fn without_bbr_the_tcp_leg_works() -> Result<()> {
    /// What the kernel says to a user who may not have BBR, and without its module.
    const ERRORS: [(&str, &str); 2] = [("EPERM", "1"), ("ENOENT", "2")];
    let lab = TunnelLab::new(BLOB_MIB)?;
    let _wan = lab.link(Abroad::FIRST, presets::CLEAN_METRO.link, 1)?;
    for (name, number) in ERRORS {
        let refused = |arguments: &[&str]| Launch {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            ..Launch::under(&[env!("CARGO_BIN_EXE_without-bbr"), number])
        };
        let server = lab.server(Abroad::FIRST, &refused(&[]))?;
        let client = lab.connected_client(&server.invite("laptop")?, &refused(&["--leg=tcp"]))?;
        lab.pull(&client).with_context(|| name.to_owned())?;
    }
    Ok(())
}
