//! Peers without a valid link: the server closes their connections, and they cost others nothing.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use docxy_protocol::{
    control::CloseCode,
    limits::{UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, UNAUTHENTICATED_RECEIVE_WINDOW},
    link::Link,
};
use docxy_tests::docxy;
use futures_util::future::join_all;
use quinn::{TransportConfig, VarInt};
use tokio::{task::block_in_place, time::timeout};

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    quic_client::{
        assert_others_are_served, close_code, dial, dial_with, hello, ping, send_hello, send_stream,
    },
    quic_packets::{RETRY, first_datagram, reply_to},
    testbed::{Testbed, invite},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_first_message_closes_the_connection() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let noise: Vec<u8> = (0..200_u32).map(|n| (n * 7919 % 251) as u8).collect();
    for first in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 0, 0, 0], &[0, 0, 0, 9, 1], &noise, &ping(), b""]
    {
        let connection = dial(&testbed, &link).await;
        send_stream(&connection, first).await;
        assert_eq!(close_code(&connection).await, Some(CloseCode::ProtocolViolation), "{first:?}");
        assert_others_are_served(&testbed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_starts_before_the_hello() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let connection = dial(&testbed, &link).await;
    let (_silent, _) = connection.open_bi().await.unwrap();
    // The server must not start a request before it has accepted the Hello.
    send_stream(&connection, &ping()).await;
    assert_eq!(close_code(&connection).await, Some(CloseCode::AuthenticationTimeout));
    assert!(testbed.hub.request_log().snapshot().is_empty());
    assert_others_are_served(&testbed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_hello_times_out() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let connection = dial(&testbed, &link).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    for byte in hello(&link) {
        ticks.tick().await;
        if send.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    assert_eq!(close_code(&connection).await, Some(CloseCode::AuthenticationTimeout));
    assert!(started.elapsed() < REQUEST_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_a_hello_costs_little_memory() {
    const CONNECTIONS: u64 = 20;
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    assert_others_are_served(&testbed).await;
    let before = testbed.server.process().memory().unwrap().now;
    let mut pushing = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = dial(&testbed, &link).await;
        pushing.spawn(async move {
            let mut sent = 0;
            let mut streams = Vec::new();
            // The first stream stays silent, so the Hello is still missing. The others send data.
            streams.push(connection.open_bi().await.unwrap());
            for _ in 0..100 {
                let Ok(Ok(mut stream)) = timeout(Duration::from_secs(1), connection.open_bi()).await else {
                    break;
                };
                let mut left = &[0x55; 60_000][..];
                while let Ok(Ok(written @ 1..)) = timeout(Duration::from_secs(1), stream.0.write(left)).await
                {
                    sent += written as u64;
                    left = &left[written..];
                }
                let whole = left.is_empty();
                streams.push(stream);
                if !whole {
                    break;
                }
            }
            assert_eq!(close_code(&connection).await, Some(CloseCode::AuthenticationTimeout));
            sent
        });
    }
    assert_others_are_served(&testbed).await;
    while let Some(sent) = pushing.join_next().await {
        let sent = sent.unwrap();
        assert!(sent <= u64::from(UNAUTHENTICATED_RECEIVE_WINDOW), "the server accepted {sent} bytes");
    }
    let grown = testbed.server.process().memory().unwrap().peak.saturating_sub(before);
    assert!(grown < 32 << 20, "the server grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_and_not_logged() {
    let mut testbed = Testbed::new().await;
    let line = invite(&mut testbed.server, "phone");
    let secret = line.split_once("phone:").unwrap().1.split_once('@').unwrap().0;
    let wrong = "wrongwrongwrongwrongwrongwrongwrongwrongwro";
    let link: Link = line.replace(secret, wrong).parse().unwrap();
    let connection = dial(&testbed, &link).await;
    let _control = send_hello(&connection, &link).await;
    assert_eq!(close_code(&connection).await, Some(CloseCode::UnknownClient));
    let refused = block_in_place(|| docxy::count(&testbed.server.status().unwrap(), "refused")).unwrap();
    assert_eq!(refused, 1);
    let log = testbed.server.process().output();
    assert!(!log.is_empty() && !log.contains(secret) && !log.contains(wrong), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_make_the_server_send_retry() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let server = testbed.server.address();
    let initial = first_datagram(&link).await;
    assert_ne!(reply_to(&initial, server)[0] & 0xf0, RETRY, "there is room");
    // Concurrently: the server closes each after ten seconds, in which a busy machine cannot dial all one by one.
    let dials = (0..=UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY).map(|_| dial(&testbed, &link));
    let unauthenticated = join_all(dials).await;
    let initial = first_datagram(&link).await;
    assert_eq!(reply_to(&initial, server)[0] & 0xf0, RETRY, "{} connections", unauthenticated.len());
    // A client that proves its address is accepted.
    let connection = dial(&testbed, &link).await;
    let _control = send_hello(&connection, &link).await;
    let receive = send_stream(&connection, &ping()).await;
    assert!(!crate::support::quic_client::read_response(receive).await.unwrap().is_empty());
    assert_others_are_served(&testbed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_datagrams_are_ignored() {
    let testbed = Testbed::new().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..2000_u32 {
        let datagram: Vec<u8> = (0..n % 1400).map(|i| (i * 31 + n * 17) as u8).collect();
        socket.send_to(&datagram, testbed.server.address()).unwrap();
        if n % 500 == 0 {
            assert_others_are_served(&testbed).await;
        }
    }
    assert_others_are_served(&testbed).await;
    let mut server = testbed.server;
    assert!(server.process().wait_until_ended(Duration::ZERO).is_err(), "it still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_that_is_not_quic_gets_no_reply() {
    let testbed = Testbed::new().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    // Datagrams of scanners: DNS, NTP, SNMP, SIP, STUN, DTLS, WireGuard, OpenVPN, IKE, HTTP, and padding.
    let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
    let stun = b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl";
    let dtls = b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x10\x01\0\0\x04\0\0\0\0\0\0\0\x04abcd";
    for probe in [
        &b""[..],
        b"\0",
        dns,
        &[0x1b; 48],
        b"\x30\x26\x02\x01\x01\x04\x06public",
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        stun,
        dtls,
        &[1; 148],
        &[0x38; 42],
        &[0x21; 28],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[0; 1400],
        &[0x40; 1400],
        &[0x7f; 1400],
        &[0xff; 1400],
    ] {
        socket.send_to(probe, testbed.server.address()).unwrap();
    }
    // This request came later, so the server has read all datagrams before its response.
    assert_others_are_served(&testbed).await;
    let mut reply = [0; 2000];
    let silence = socket.recv(&mut reply);
    assert!(silence.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "{silence:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_quic_features_are_off() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(100));
    let connection = dial_with(&testbed, &link, transport).await;
    assert_eq!(connection.max_datagram_size(), None, "datagrams are off");
    let unidirectional = timeout(Duration::from_millis(500), connection.open_uni()).await;
    assert!(unidirectional.is_err(), "no stream in one direction");
    let bidirectional = timeout(Duration::from_millis(500), connection.accept_bi()).await;
    assert!(bidirectional.is_err(), "the server opens none");
}
