//! The UDP socket under one attempt.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Once;

/// Bytes asked for in each direction: a quarter of a second at 128 Mbit/s, as on the server.
const BUFFER: usize = 4 * 1024 * 1024;

/// A socket on a port that the system picks: another one at each attempt, which is what gets past
/// a filter that has blocked the last one.
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

/// Asks for [`BUFFER`], and says once what to do where the kernel grants much less.
fn enlarge_buffers(socket: &Socket) -> std::io::Result<()> {
    static TOLD: Once = Once::new();
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    tracing::debug!(receive, send, asked = BUFFER, "socket buffers granted");
    if let Some(advice) = advice(receive, send) {
        TOLD.call_once(|| tracing::warn!("{advice}"));
    }
    Ok(())
}

/// What to tell whoever runs a machine that grants buffers of this size. Linux counts its own
/// bookkeeping in and says twice what it gives, so one of [`BUFFER`] is half of what was asked for.
fn advice(receive: usize, send: usize) -> Option<String> {
    let limits = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
    let small = limits.into_iter().filter(|(granted, _)| *granted < BUFFER);
    let raise: Vec<_> = small.map(|(_, limit)| format!("{limit}={BUFFER}")).collect();
    (!raise.is_empty()).then(|| {
        let raise = raise.join(" ");
        format!("the system grants small UDP buffers, which fast transfers overflow; raise them: sysctl -w {raise}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stingy_kernel_s_limits_are_named_and_only_those() {
        assert_eq!(advice(2 * BUFFER, 2 * BUFFER), None);
        let advised = advice(425_984, 2 * BUFFER).unwrap();
        assert!(advised.ends_with("sysctl -w net.core.rmem_max=4194304"), "{advised}");
        let advised = advice(425_984, 425_984).unwrap();
        assert!(advised.ends_with("net.core.rmem_max=4194304 net.core.wmem_max=4194304"), "{advised}");
    }
}
