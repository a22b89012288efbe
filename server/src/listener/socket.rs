//! The UDP socket of an endpoint.

use docxy_protocol::udp_buffers::{BUFFER_SIZE, advice};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Once;

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source}")]
pub struct SocketError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Binds to the address. If it is `[::]` and IPv6 is off, binds to `0.0.0.0`.
///
/// # Errors
/// If the address is in use, or isn't this machine's.
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
        // IPv4 clients have mapped addresses.
        socket.set_only_v6(false)?;
    }
    enlarge_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Requests buffers of [`BUFFER_SIZE`] bytes. If the kernel grants much less, logs once how to change that.
fn enlarge_buffers(socket: &Socket) -> std::io::Result<()> {
    static ADVISED: Once = Once::new();
    socket.set_recv_buffer_size(BUFFER_SIZE)?;
    socket.set_send_buffer_size(BUFFER_SIZE)?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    tracing::debug!(receive, send, asked = BUFFER_SIZE, "socket buffers granted");
    if let Some(advice) = advice(receive, send) {
        ADVISED.call_once(|| tracing::warn!("{advice}"));
    }
    Ok(())
}

fn ipv6_is_on() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}
