//! Whoever finds the server's port and talks nonsense to it, or a client that has gone mad.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use docxy_protocol::{
    authorization::Authorization,
    congestion::{Choice, Handle},
    control::{CloseCode, Hello, Opening},
    frame,
    headers::Headers,
    link::Link,
    name::Registry,
    request::{Operation, Request},
    tls, transport,
};
use http::StatusCode;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use tokio::time::timeout;

use crate::{
    engine::{ANY, PATIENCE},
    world::{World, invite},
};

async fn dial(world: &World, link: &Link) -> Connection {
    let mut config = ClientConfig::new(Arc::new(tls::client(link.pin, false).unwrap()));
    config.transport_config(Arc::new(transport::client(&Handle::default())));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, world.server.address(), "docxy.invalid").unwrap();
    timeout(PATIENCE, connecting).await.unwrap().unwrap()
}

async fn write_first(connection: &Connection, bytes: &[u8]) {
    let (mut send, _) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
}

/// Why the server hung up.
async fn verdict(connection: &Connection) -> Option<CloseCode> {
    match timeout(PATIENCE, connection.closed()).await.unwrap() {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        other => panic!("{other}"),
    }
}

fn ping() -> Vec<u8> {
    let request = Request {
        registry: Registry::docker_hub(),
        operation: Operation::Ping,
        authorization: Authorization::None,
        headers: Headers::default(),
    };
    frame::encode(&Opening::Request(Box::new(request))).unwrap()
}

async fn assert_others_are_served(world: &World) {
    let bearer = world.engine.anonymous("library/hello").await;
    let path = "/v2/library/hello/manifests/latest";
    let answer = world.engine.get(path, &[("authorization", &bearer), ANY]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_talks_nonsense_is_hung_up_on_and_hurts_nobody() {
    let mut world = World::new().await;
    let link: Link = invite(&mut world.server, "phone").parse().unwrap();
    let noise: Vec<u8> = (0..200_u32).map(|n| (n * 7919 % 251) as u8).collect();
    for first in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 0, 0, 0], &[0, 0, 0, 9, 1], &noise, &ping(), b""]
    {
        let connection = dial(&world, &link).await;
        write_first(&connection, first).await;
        assert_eq!(verdict(&connection).await, Some(CloseCode::Violation), "{first:?}");
        assert_others_are_served(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_says_nothing_is_asked_nothing_and_hung_up_on() {
    let mut world = World::new().await;
    let link: Link = invite(&mut world.server, "phone").parse().unwrap();
    let connection = dial(&world, &link).await;
    let (_silent, _) = connection.open_bi().await.unwrap();
    // A request that comes before the Hello has been accepted must not be begun.
    write_first(&connection, &ping()).await;
    assert_eq!(verdict(&connection).await, Some(CloseCode::HelloTimeout));
    assert!(world.hub.journal().snapshot().is_empty());
    assert_others_are_served(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_gone_mad_hurts_nobody_but_itself() {
    let mut world = World::new().await;
    let link: Link = invite(&mut world.server, "phone").parse().unwrap();
    let connection = dial(&world, &link).await;
    let hello = Opening::Hello(Hello {
        name: link.name.clone(),
        secret: link.secret.clone(),
        congestion: Choice::Auto,
    });
    let hello = frame::encode(&hello).unwrap();
    let (mut control, _notices) = connection.open_bi().await.unwrap();
    control.write_all(&hello).await.unwrap();
    for nonsense in [&b"nonsense"[..], &[0xff; 64], &hello] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(nonsense).await.unwrap();
        let _ = send.finish();
        let answer = timeout(PATIENCE, receive.read_to_end(1000)).await.unwrap();
        assert!(answer.is_err(), "{answer:?} for {nonsense:?}");
        assert_others_are_served(&world).await;
    }
    // Its own connection stands, too: one bad stream costs that stream.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&ping()).await.unwrap();
    send.finish().unwrap();
    assert!(!timeout(PATIENCE, receive.read_to_end(10_000)).await.unwrap().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_port_is_passed_over() {
    let world = World::new().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..2000_u32 {
        let datagram: Vec<u8> = (0..n % 1400).map(|i| (i * 31 + n * 17) as u8).collect();
        socket.send_to(&datagram, world.server.address()).unwrap();
        if n % 500 == 0 {
            assert_others_are_served(&world).await;
        }
    }
    assert_others_are_served(&world).await;
    let mut server = world.server;
    assert!(server.process().wait_until_ended(Duration::ZERO).is_err(), "it still runs");
}
