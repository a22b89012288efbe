//! The client finds the leg, the port and the server that work, on every kind of network, and no engine sees an error.
//! Must never judge the speed: `scripts/bench legs` measures it.

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Launch, content_bytes},
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Counters, Direction, LinkPreset, UdpRule, Wan, presets},
};

use crate::legs::{BLOB_MIB, MIB, wait_for};

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
