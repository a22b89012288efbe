//! The UDP socket under one attempt.

use docxy_protocol::udp_buffers::{BUFFER_SIZE, advice};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Once;

/// A socket on a port that the system picks: another one at each attempt, in case a filter blocks the last
/// one.
pub(super) fn open(towards: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(towards), Type::DGRAM, Some(Protocol::UDP))?;
    enlarge_buffers(&socket)?;
    let any: SocketAddr = match towards {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&any.into())?;
    Ok(socket.into())
}

/// Requests [`BUFFER_SIZE`] bytes, and logs once what to do if the kernel grants much less.
fn enlarge_buffers(socket: &Socket) -> std::io::Result<()> {
    static LOGGED: Once = Once::new();
    socket.set_recv_buffer_size(BUFFER_SIZE)?;
    socket.set_send_buffer_size(BUFFER_SIZE)?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    tracing::debug!(receive, send, asked = BUFFER_SIZE, "socket buffers granted");
    if let Some(advice) = advice(receive, send) {
        LOGGED.call_once(|| tracing::warn!("{advice}"));
    }
    Ok(())
}
