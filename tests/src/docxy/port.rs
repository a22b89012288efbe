//! A port for a server that a test restarts: free on UDP and TCP, and not one that the kernel gives to connections
//! meanwhile.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
};

use anyhow::{Context, Result};

/// Below Linux's `ip_local_port_range`.
const PORTS: Range<u64> = 10_000..32_000;

/// A free port of this address. In a namespace, all are free.
pub(super) fn free_port(ip: IpAddr, in_namespace: bool) -> Result<u16> {
    let random = RandomState::new();
    let port = |n: u16| (PORTS.start + random.hash_one(n) % (PORTS.end - PORTS.start)) as u16;
    let is_free = |port: &u16| {
        let address = SocketAddr::new(ip, *port);
        in_namespace || (UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok())
    };
    (0..100).map(port).find(is_free).context("no port is free on UDP and TCP")
}
