//! The UDP socket under an endpoint.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// Bytes asked for in each direction: a quarter of a second at 128 Mbit/s. The kernel's default of
/// 208 KiB overflows while the process waits for its turn on a busy machine.
const BUFFER: usize = 4 * 1024 * 1024;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source}")]
pub struct SocketError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Binds to the address; to all of IPv4 where all of IPv6 was meant and IPv6 is off.
///
/// # Errors
/// Where the address is taken, or isn't this machine's.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, SocketError> {
    match open(address) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() && !ipv6_is_on() => {
            tracing::info!("IPv6 is off here; listening on IPv4 alone");
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        Err(source) => Err(SocketError { address, source }),
        Ok(socket) => Ok(socket),
    }
}

fn open(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // IPv4 clients come in by mapped addresses.
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    tracing::debug!(
        receive = socket.recv_buffer_size()?,
        send = socket.send_buffer_size()?,
        asked = BUFFER,
        "socket buffers granted (net.core.rmem_max and wmem_max are the limit)"
    );
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn ipv6_is_on() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}
