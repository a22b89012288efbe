//! Single QUIC datagrams to a server, and its replies.
//! Must never complete a handshake.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use docxy_protocol::{link::Link, version::WIRE_VERSION};
use docxy_transport::quic::tls;
use quinn::{ClientConfig, Endpoint};
use tokio::{task::block_in_place, time::timeout};

use super::http_client::REQUEST_TIMEOUT;

/// The first four bits of a Retry packet (RFC 9000, section 17.2.5).
pub(crate) const RETRY: u8 = 0xf0;

/// The first datagram of a client.
pub(crate) async fn first_datagram(link: &Link) -> Vec<u8> {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new(Arc::new(tls::client_config(link.pin, WIRE_VERSION, false).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let _connecting = endpoint.connect_with(config, socket.local_addr().unwrap(), "docxy.invalid").unwrap();
    let mut datagram = vec![0; 2000];
    let length = timeout(REQUEST_TIMEOUT, socket.recv(&mut datagram)).await.unwrap().unwrap();
    datagram.truncate(length);
    datagram
}

/// The server's first reply to a datagram from an address of its own.
pub(crate) fn reply_to(datagram: &[u8], server: SocketAddr) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(REQUEST_TIMEOUT)).unwrap();
    socket.send_to(datagram, server).unwrap();
    let mut reply = vec![0; 2000];
    let length = block_in_place(|| socket.recv(&mut reply)).unwrap();
    reply.truncate(length);
    reply
}
