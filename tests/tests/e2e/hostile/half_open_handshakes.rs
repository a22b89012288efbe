//! Thousands of handshakes that never end: they block no client, and the server closes them in time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use docxy_protocol::{
    congestion::Handle,
    control::CloseCode,
    limits::{
        AUTHENTICATION_TIMEOUT, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, UNAUTHENTICATED_CONNECTIONS_MAX,
    },
    link::Link,
    version::WIRE_VERSION,
};
use docxy_transport::quic::{settings, tls};
use quinn::{ClientConfig, Connecting, Endpoint};
use tokio::{net::UdpSocket, sync::watch, task::JoinSet, time::timeout};

use crate::support::{
    http_client::REQUEST_TIMEOUT,
    quic_client::{assert_others_are_served, close_code, dial},
    quic_packets::{RETRY, first_datagram, reply_to},
    testbed::{Testbed, client, invite},
};

/// With this many, an earlier version accepted no client.
const HANDSHAKES: usize = 4200;

/// Half-open connections from one address. Their clients see only the server's Retry packets: they prove their
/// address, and then repeat their first packet, which renews the idle timer.
struct HalfOpen {
    endpoint: Endpoint,
    client_side: SocketAddr,
    /// The numbers of datagrams to the server and of Retry packets from it.
    sent: watch::Receiver<usize>,
    retries: watch::Receiver<usize>,
    connecting: Vec<Connecting>,
    relay: JoinSet<()>,
}

impl HalfOpen {
    async fn from(address: [u8; 4], server: SocketAddr) -> Self {
        let client_side = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let server_side = Arc::new(UdpSocket::bind((IpAddr::from(address), 0)).await.unwrap());
        server_side.connect(server).await.unwrap();
        let ((sent_sender, sent), (retry_sender, retries)) = (watch::channel(0), watch::channel(0));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, endpoint_address) = (client_side.local_addr().unwrap(), endpoint.local_addr().unwrap());
        let mut relay = JoinSet::new();
        relay.spawn(pass_all(client_side.clone(), server_side.clone(), sent_sender));
        relay.spawn(pass_retries(server_side, client_side, endpoint_address, retry_sender));
        Self { endpoint, client_side: address, sent, retries, connecting: Vec::new(), relay }
    }

    /// Opens this number of connections, and waits until all have proved their addresses, except those that need not.
    async fn open(&mut self, link: &Link, count: usize) {
        let mut config =
            ClientConfig::new(Arc::new(tls::client_config(link.pin, WIRE_VERSION, false).unwrap()));
        config.transport_config(Arc::new(settings::client_config(&Handle::default())));
        for _ in 0..count {
            let connecting =
                self.endpoint.connect_with(config.clone(), self.client_side, "docxy.invalid").unwrap();
            self.connecting.push(connecting);
            // One after the other, so that no socket's buffer overflows.
            let opened = self.connecting.len();
            timeout(REQUEST_TIMEOUT, self.sent.wait_for(|sent| *sent >= opened)).await.unwrap().unwrap();
        }
        let expected = self.connecting.len().saturating_sub(UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY);
        let all_proved = self.retries.wait_for(|retries| *retries >= expected);
        timeout(REQUEST_TIMEOUT, all_proved).await.expect("a Retry for each connection").unwrap();
    }
}

async fn pass_all(from: Arc<UdpSocket>, to: Arc<UdpSocket>, passed: watch::Sender<usize>) {
    let mut datagram = [0; 2048];
    loop {
        if let Ok(length) = from.recv(&mut datagram).await {
            let _ = to.send(&datagram[..length]).await;
            passed.send_modify(|passed| *passed += 1);
        }
    }
}

async fn pass_retries(
    from: Arc<UdpSocket>,
    through: Arc<UdpSocket>,
    to: SocketAddr,
    passed: watch::Sender<usize>,
) {
    let mut datagram = [0; 2048];
    loop {
        match from.recv(&mut datagram).await {
            Ok(length) if datagram[0] & 0xf0 == RETRY => {
                let _ = through.send_to(&datagram[..length], to).await;
                passed.send_modify(|passed| *passed += 1);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_open_handshakes_block_no_client() {
    let mut testbed = Testbed::new().await;
    let phone = invite(&mut testbed.server, "phone");
    let link: Link = phone.parse().unwrap();
    assert_others_are_served(&testbed).await;
    let before = testbed.server.process().memory().unwrap().now;
    let server = testbed.server.address();
    // From the clients' network, and from another one.
    let mut near = HalfOpen::from([127, 0, 0, 2], server).await;
    let mut far = HalfOpen::from([127, 0, 9, 9], server).await;
    for _ in 0..7 {
        near.open(&link, HANDSHAKES / 14).await;
        far.open(&link, HANDSHAKES / 14).await;
        assert_others_are_served(&testbed).await;
    }
    // The server may close its first connections to make room for others. Then it dials again.
    let newcomer = client(&phone, &[]);
    assert_others_are_served(&testbed).await;
    drop(newcomer);
    let grown = testbed.server.process().memory().unwrap().peak.saturating_sub(before);
    let growth_max = UNAUTHENTICATED_CONNECTIONS_MAX as u64 * (256 << 10);
    assert!(grown < growth_max, "the server grew by {grown} bytes, and {growth_max} are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_handshake_is_closed_at_its_deadline() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let server = testbed.server.address();
    let opened = Instant::now();
    let mut half_open = HalfOpen::from([127, 0, 0, 2], server).await;
    half_open.open(&link, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY + 10).await;
    assert!(demands_retry(&link, server).await, "the server counts the open handshakes");
    // They repeat their first packets after 0.3, 0.9, 2.1 and 4.5 s. One more repetition, after the deadline, would
    // open a new connection.
    tokio::time::sleep_until((opened + AUTHENTICATION_TIMEOUT / 2).into()).await;
    half_open.relay.shutdown().await;
    let all_closed = async { while demands_retry(&link, server).await {} };
    timeout(2 * AUTHENTICATION_TIMEOUT, all_closed)
        .await
        .expect("the server closes all of them at their deadline");
    assert!(opened.elapsed() >= AUTHENTICATION_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_handshakes() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let mut half_open = HalfOpen::from([127, 0, 0, 2], testbed.server.address()).await;
    let opened = Instant::now();
    half_open.open(&link, 10).await;
    let silent = dial(&testbed, &link).await;
    testbed.server.process().signal("TERM").unwrap();
    assert_eq!(close_code(&silent).await, Some(CloseCode::Draining));
    let ended =
        tokio::task::block_in_place(|| testbed.server.process().wait_until_ended(AUTHENTICATION_TIMEOUT));
    assert!(ended.unwrap().success());
    assert!(opened.elapsed() < AUTHENTICATION_TIMEOUT, "the handshakes ended by themselves");
}

/// Whether the server makes a new client prove its address, as it does beside many unauthenticated connections.
async fn demands_retry(link: &Link, server: SocketAddr) -> bool {
    reply_to(&first_datagram(link).await, server)[0] & 0xf0 == RETRY
}
