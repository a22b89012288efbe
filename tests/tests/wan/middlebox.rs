//! Links with filters, as real networks have them, and what plain sockets see there.
//! Must never use the product: its own tests rely on these links.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use docxy_protocol::tls::provider;
use docxy_tests::wan::{
    Conditions, Drops, End, Link, NamespacePair, Rate, TcpRule, UdpRule, Wan, presets, run_in_namespace,
};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportConfig,
    crypto::rustls::QuicClientConfig,
};
use rustls::RootCertStore;

use crate::support::test_link::{REPLY_TIMEOUT, TestLink, UdpSockets, received};

const KIB: usize = 1024;

/// What a test without a long link uses.
const FAST_LINE: Conditions = Conditions::clean(Rate::mbit(100), Duration::from_millis(20));

/// Nothing more arrives if nothing has for this long.
const SILENCE: Duration = Duration::from_millis(500);

/// Any server's port but the one that is reset.
const OTHER_PORT: u16 = 61443;

/// All that arrives until the sender ends or is silent.
fn read_until_silence(stream: &mut TcpStream) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(SILENCE))?;
    let (mut read, mut buffer) = (Vec::new(), [0; 4 * KIB]);
    while let Some(length @ 1..) = received(stream.read(&mut buffer))? {
        read.extend_from_slice(&buffer[..length]);
    }
    Ok(read)
}

/// Why the link dropped packets from the server.
fn dropped(wan: &Wan) -> Result<Drops> {
    Ok(wan.report()?.right_to_left.counters.dropped)
}

/// Whether a TCP connection carries a few bytes each way.
fn carries((mut left, mut right): (TcpStream, TcpStream)) -> Result<bool> {
    left.write_all(b"hello")?;
    right.read_exact(&mut [0; 5])?;
    right.write_all(b"hello")?;
    Ok(read_until_silence(&mut left)? == b"hello")
}

/// The same conditions on a shorter way.
fn shorter(mut link: Link) -> Link {
    for conditions in link.both_mut() {
        conditions.delay = FAST_LINE.delay;
    }
    link
}

#[test]
fn nothing_comes_back_after_64_kib_of_a_udp_flow() -> Result<()> {
    let test_link = TestLink::new(shorter(presets::ONE_WAY_UDP.link))?;
    let mut sockets = test_link.udp()?;
    for _ in 0..2 {
        ensure!(sockets.ping(REPLY_TIMEOUT)?.is_some(), "a flow begins");
        for _ in 0..64 {
            sockets.right.send_to(&[0; KIB], sockets.left.local_addr()?)?;
        }
        while received(sockets.left.recv(&mut [0; KIB]))?.is_some() {
            sockets.left.set_read_timeout(Some(SILENCE))?;
        }
        sockets.left.send(b"ping")?;
        ensure!(received(sockets.right.recv_from(&mut [0; 16]))?.is_some(), "the other direction passes");
        ensure!(sockets.ping(SILENCE)?.is_none(), "nothing comes back");
        sockets.rebind(&test_link.pair.left)?;
    }
    ensure!(dropped(&test_link.wan)?.frozen.packets > 0 && carries(test_link.tcp()?)?);
    test_link.assert_all_accounted_for()
}

#[test]
fn a_tcp_connection_freezes_after_16_kib_from_the_server() -> Result<()> {
    let test_link = TestLink::new(shorter(presets::FROZEN_TCP.link))?;
    for _ in 0..2 {
        let (mut left, mut right) = test_link.tcp()?;
        right.write_all(&vec![0; 64 * KIB])?;
        let arrived = read_until_silence(&mut left)?.len();
        ensure!((15 * KIB..=16 * KIB).contains(&arrived), "{arrived} bytes arrived");
    }
    ensure!(dropped(&test_link.wan)?.frozen.packets > 0);
    ensure!(test_link.udp()?.ping(REPLY_TIMEOUT)?.is_some(), "UDP passes");
    Ok(())
}

#[test]
fn a_server_hello_never_arrives() -> Result<()> {
    let test_link = TestLink::new(shorter(presets::DROPPED_SERVERHELLO.link))?;
    let (mut left, mut right) = test_link.tcp()?;
    right.write_all(&[22, 3, 3, 0, 122, 2, 0, 0, 118])?;
    ensure!(read_until_silence(&mut left)?.is_empty());
    ensure!(dropped(&test_link.wan)?.server_hello.packets > 0);
    ensure!(carries(test_link.tcp()?)?, "other content passes");
    Ok(())
}

#[test]
fn one_port_is_reset_and_others_work() -> Result<()> {
    let test_link = TestLink::new(shorter(presets::RESET_PORT.link))?;
    let at = |port| SocketAddr::from((NamespacePair::RIGHT, port));
    let [_closed, open] = [443, OTHER_PORT].map(|port| test_link.listen(at(port)));
    let refused = test_link.connect(at(443))?.map(drop).map_err(|error| error.kind());
    ensure!(refused == Err(ErrorKind::ConnectionRefused), "{refused:?}");
    let left = test_link.connect(at(OTHER_PORT))??;
    ensure!(carries((left, open?.accept()?.0))?);

    let udp = run_in_namespace(&test_link.pair.right.namespace, || UdpSocket::bind(at(443)))??;
    let sockets = UdpSockets::between(&test_link.pair.left, &test_link.pair.right)?;
    sockets.left.connect(udp.local_addr()?)?;
    let sockets = UdpSockets { left: sockets.left, right: udp };
    ensure!(sockets.ping(SILENCE)?.is_none(), "UDP of that port is dropped");
    test_link.assert_all_accounted_for()
}

#[test]
fn connections_are_reset_while_they_are_used() -> Result<()> {
    let test_link = TestLink::symmetric(FAST_LINE)?;
    let (mut left, mut right) = test_link.tcp()?;
    let port = right.local_addr()?.port();
    test_link.wan.change(|link| link.both_mut().into_iter().for_each(|way| way.reset_port = Some(port)));
    for (sender, what) in [(&mut left, "the client's end"), (&mut right, "the server's end")] {
        sender.set_read_timeout(Some(REPLY_TIMEOUT))?;
        sender.write_all(b"hello")?;
        let reset = sender.read(&mut [0; 8]).map_err(|error| error.kind());
        ensure!(reset == Err(ErrorKind::ConnectionReset), "{what}: {reset:?}");
    }
    Ok(())
}

#[test]
fn udp_is_blocked_for_a_while() -> Result<()> {
    let test_link = TestLink::symmetric(FAST_LINE)?;
    let (sockets, connection) = (test_link.udp()?, test_link.tcp()?);
    let block =
        |rule| test_link.wan.change(|link| link.both_mut().into_iter().for_each(|way| way.udp = rule));
    ensure!(sockets.ping(REPLY_TIMEOUT)?.is_some());
    block(UdpRule::Blocked);
    ensure!(sockets.ping(SILENCE)?.is_none() && carries(connection)?);
    block(UdpRule::Pass);
    ensure!(sockets.ping(REPLY_TIMEOUT)?.is_some(), "the same flow passes again");
    test_link.assert_all_accounted_for()
}

#[test]
fn tcp_is_blocked_for_a_while() -> Result<()> {
    let test_link = TestLink::symmetric(FAST_LINE)?;
    let (mut left, right) = test_link.tcp()?;
    let block =
        |rule| test_link.wan.change(|link| link.both_mut().into_iter().for_each(|way| way.tcp = rule));
    block(TcpRule::Blocked);
    left.write_all(b"hello")?;
    right.set_read_timeout(Some(SILENCE))?;
    ensure!(received((&right).read(&mut [0; 8]))?.is_none());
    ensure!(test_link.udp()?.ping(REPLY_TIMEOUT)?.is_some(), "UDP passes");
    block(TcpRule::Pass);
    right.set_read_timeout(Some(REPLY_TIMEOUT))?;
    (&right).read_exact(&mut [0; 5])?;
    Ok(())
}

#[test]
fn a_block_of_flows_stops_a_connection_and_passes_a_new_one() -> Result<()> {
    let test_link = TestLink::symmetric(FAST_LINE)?;
    let (mut left, mut right) = test_link.tcp()?;
    test_link.wan.block_flows();
    right.write_all(b"hello")?;
    ensure!(read_until_silence(&mut left)?.is_empty());
    ensure!(carries(test_link.tcp()?)?);
    Ok(())
}

#[test]
fn ipv6_works_and_may_lead_nowhere() -> Result<()> {
    let test_link = TestLink::new(shorter(presets::BLACK_HOLED_IPV6.link))?;
    let right = IpAddr::from(test_link.pair.right.ipv6());
    let listener = test_link.listen((right, 0))?;
    let address = listener.local_addr()?;
    let connect = || TcpStream::connect_timeout(&address, SILENCE).map_err(|error| error.kind());
    let refused = run_in_namespace(&test_link.pair.left.namespace, connect)?;
    ensure!(matches!(refused, Err(ErrorKind::TimedOut)), "{refused:?}");
    ensure!(test_link.left_to_right()?.counters.dropped.ipv6_blocked.packets > 0);
    ensure!(carries(test_link.tcp()?)?, "IPv4 works");

    test_link.wan.change(|link| *link = Link::symmetric(FAST_LINE));
    let left = test_link.connect(address)??;
    ensure!(carries((left, listener.accept()?.0))?);
    test_link.assert_all_accounted_for()
}

#[test]
fn one_client_has_links_to_two_servers() -> Result<()> {
    let first = TestLink::symmetric(FAST_LINE)?;
    let farther = Conditions { delay: FAST_LINE.delay * 2, rate: Some(Rate::mbit(50)), ..FAST_LINE };
    let [left, right] = [(&first.pair.left, 1), (&first.pair.right, 2)]
        .map(|(end, last)| End::new(&end.namespace, [10, 62, 1, last].into()));
    let second = Wan::join(&left, &right, Link::symmetric(farther), 1)?;
    first.udp()?.assert_round_trip(FAST_LINE.delay * 2)?;
    UdpSockets::between(&left, &right)?.assert_round_trip(farther.delay * 2)?;
    let packets = |wan: &Wan| Ok::<_, anyhow::Error>(wan.report()?.left_to_right.counters.delivered.packets);
    let before = packets(&first.wan)?;
    second.outage(REPLY_TIMEOUT);
    ensure!(UdpSockets::between(&left, &right)?.ping(SILENCE)?.is_none(), "one link is down");
    ensure!(first.udp()?.ping(REPLY_TIMEOUT)?.is_some() && packets(&first.wan)? == before + 1);
    Ok(())
}

/// A handshake that gets no error ends after this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The error of a QUIC handshake on this link, and how long it took.
fn quic_error(test_link: &TestLink) -> Result<(ConnectionError, Duration)> {
    let socket =
        run_in_namespace(&test_link.pair.left.namespace, || UdpSocket::bind((NamespacePair::LEFT, 0)))??;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(HANDSHAKE_TIMEOUT.try_into()?));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    tokio::runtime::Runtime::new()?.block_on(async {
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
        let started = Instant::now();
        let server = SocketAddr::from((NamespacePair::RIGHT, OTHER_PORT));
        let error = endpoint.connect_with(config, server, "server")?.await.err();
        Ok((error.context("the handshake succeeded")?, started.elapsed()))
    })
}

#[test]
fn a_quic_handshake_is_answered_with_an_error() -> Result<()> {
    /// CRYPTO_ERROR (RFC 9000, section 20.1) with TLS's `handshake_failure`.
    const HANDSHAKE_FAILURE: u64 = 0x128;
    let test_link = TestLink::new(presets::QUIC_CRYPTO_ERROR.link)?;
    let (error, took) = quic_error(&test_link)?;
    let ConnectionError::ConnectionClosed(close) = error else { anyhow::bail!("{error:?}") };
    ensure!(u64::from(close.error_code) == HANDSHAKE_FAILURE, "{close:?}");
    ensure!(took < SILENCE, "{took:?}");
    Ok(())
}

#[test]
fn a_quic_handshake_is_answered_with_other_versions() -> Result<()> {
    let test_link = TestLink::new(presets::QUIC_VERSIONS.link)?;
    let (error, took) = quic_error(&test_link)?;
    ensure!(error == ConnectionError::VersionMismatch && took < SILENCE, "{error:?} after {took:?}");
    Ok(())
}

#[test]
fn a_quic_handshake_is_answered_with_retry_forever() -> Result<()> {
    let test_link = TestLink::new(presets::QUIC_RETRY.link)?;
    thread::scope(|scope| {
        let handshake = scope.spawn(|| quic_error(&test_link));
        let deadline = Instant::now() + REPLY_TIMEOUT;
        // quinn takes one Retry, and sends its first packet again with the token.
        while test_link.left_to_right()?.counters.offered.packets < 3 {
            ensure!(Instant::now() < deadline && !handshake.is_finished());
            thread::sleep(Duration::from_millis(10));
        }
        let report = test_link.wan.report()?;
        let [answers, rejected] =
            [report.right_to_left.counters.offered, report.left_to_right.counters.dropped.quic_rejected];
        ensure!(answers.packets >= 2 && answers.packets <= rejected.packets, "{report}");
        let outcome = handshake.join().expect("quic_error panicked")?;
        ensure!(outcome.0 == ConnectionError::TimedOut, "{outcome:?}");
        Ok(())
    })
}
