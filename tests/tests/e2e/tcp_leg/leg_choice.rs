//! The client finds the leg that works, and goes on with it the next time.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use docxy_tests::{docxy::Client, process::PROCESS_TIMEOUT};
use quinn::{Endpoint, ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::{
    net::{TcpListener, UdpSocket},
    task::{JoinSet, block_in_place},
};

use crate::support::{
    http_client::HttpClient,
    relay::Relay,
    relayed_testbed::{MIB, assert_whole, begin},
    tcp_relay::TcpRelay,
    testbed::{Testbed, client, config, hub, server},
};

/// A UDP socket and a TCP listener on one port.
async fn same_port() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

/// A testbed whose client reaches its server through a relay, for both legs.
struct TwoLegs {
    testbed: Testbed,
    relay: Relay,
}

impl TwoLegs {
    async fn new(has_udp: bool) -> Self {
        let hub = hub().await;
        let server = server(&config(&hub));
        let relay = Relay::with_delay(server.address(), Duration::ZERO);
        relay.set_udp(has_udp);
        let client = client(&relay.link_to(&server, "laptop"), &["--leg", "auto"]);
        let testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
        Self { testbed, relay }
    }

    async fn pull(&self, seed: u64) {
        let (blob, path) = self.testbed.with_blob(seed, 5 * MIB);
        assert_whole(&begin(&self.testbed, &path, 1).await.rest().await, &blob);
    }
}

fn wait_for_leg(client: &mut Client, leg: &str) -> Value {
    let is_used = |health: &Value| health["leg"] == leg;
    block_in_place(|| client.wait_for_health("use the leg", PROCESS_TIMEOUT, is_used)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_udp_uses_tcp_and_knows_it_the_next_time() {
    let mut legs = TwoLegs::new(false).await;
    wait_for_leg(&mut legs.testbed.client, "tcp");
    legs.pull(1).await;
    block_in_place(|| {
        legs.testbed.client.stop()?;
        legs.testbed.client.start_again_with(&["--leg", "auto"])
    })
    .unwrap();
    let health = wait_for_leg(&mut legs.testbed.client, "tcp");
    assert_eq!(health["leg_reason"], "dialed first", "{health}");
    legs.testbed.engine = HttpClient::at(legs.testbed.client.address());
    legs.pull(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_is_used_where_both_legs_work() {
    let mut legs = TwoLegs::new(true).await;
    legs.pull(1).await;
    let health = wait_for_leg(&mut legs.testbed.client, "quic");
    assert_eq!(health["leg_reason"], "dialed first", "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_survives_the_block_of_udp_and_quic_comes_back() {
    let mut legs = TwoLegs::new(true).await;
    let (blob, path) = legs.testbed.with_blob(1, 64 * MIB);
    let raw = begin(&legs.testbed, &path, 2 * MIB).await;
    legs.relay.set_udp(false);
    let blocked = Instant::now();
    wait_for_leg(&mut legs.testbed.client, "tcp");
    // The first attempt from a fresh port comes after seconds: sooner than the end of the body on a busy machine.
    legs.relay.set_udp(true);
    assert_whole(&raw.rest().await, &blob);
    println!("a pull was over {:?} after UDP had been blocked", blocked.elapsed());
    let health = wait_for_leg(&mut legs.testbed.client, "quic");
    assert_eq!(health["leg_reason"], "it comes up again", "{health}");
    legs.pull(2).await;
}

/// Answers each QUIC handshake at this socket with an error: it speaks no protocol of the client.
fn reject_quic(socket: UdpSocket) -> JoinSet<()> {
    let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(docxy_protocol::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket.into_std().unwrap(), runtime);
    let endpoint = endpoint.unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move { incoming.await.is_ok() });
        }
    });
    task
}

/// Answers each datagram at this socket with a Version Negotiation packet (RFC 9000, section 17.2.1).
fn offer_other_versions(socket: UdpSocket) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut datagram = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
            let Some((destination, source)) = connection_ids(&datagram[..length]) else { continue };
            let mut answer = vec![0x80, 0, 0, 0, 0];
            for id in [source, destination] {
                answer.push(id.len() as u8);
                answer.extend_from_slice(id);
            }
            answer.extend_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
            let _ = socket.send_to(&answer, client).await;
        }
    });
    task
}

/// The connection ids of a packet with a long header.
fn connection_ids(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = packet.get(5..)?.split_first()?;
    let (destination, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first()?;
    Some((destination, rest.get(..usize::from(*length))?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_handshake_that_is_answered_with_an_error_is_as_good_as_none() {
    for reject in [reject_quic, offer_other_versions] {
        let hub = hub().await;
        let server = server(&config(&hub));
        let (socket, listener) = same_port().await;
        let address: SocketAddr = socket.local_addr().unwrap();
        let _udp = reject(socket);
        let _tcp = TcpRelay::on(listener, server.address());
        let invite = ["invite", "laptop", "--public", &address.to_string()];
        let link = block_in_place(|| server.command(&invite)).unwrap().trim().to_owned();
        let begun = Instant::now();
        let mut client = client(&link, &["--leg", "auto"]);
        wait_for_leg(&mut client, "tcp");
        println!("on TCP after {:?}", begun.elapsed());
        let testbed = Testbed { engine: HttpClient::at(client.address()), client, server, hub };
        let (blob, path) = testbed.with_blob(1, 5 * MIB);
        assert_whole(&begin(&testbed, &path, 1).await.rest().await, &blob);
    }
}
