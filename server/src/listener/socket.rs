//! The UDP socket under an endpoint.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Once;

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
    enlarge_buffers(&socket)?;
    socket.bind(&address.into())?;
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

fn ipv6_is_on() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
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
