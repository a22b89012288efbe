//! The UDP sockets of both sides.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Once;

/// Bytes of each buffer: a quarter of a second at 128 Mbit/s. Linux's default of 208 KiB overflows while a
/// process waits to be scheduled on a busy machine.
const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source}")]
pub struct SocketError {
    address: SocketAddr,
    source: std::io::Error,
}

impl SocketError {
    /// The port, if another process has it.
    pub(super) fn taken_port(&self) -> Option<u16> {
        (self.source.kind() == std::io::ErrorKind::AddrInUse).then_some(self.address.port())
    }
}

/// Binds to the address. If it is `[::]` and IPv6 is off, binds to `0.0.0.0`.
///
/// # Errors
/// If the address is in use, or is not this machine's.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, SocketError> {
    match listen(address) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() && !ipv6_is_on() => {
            tracing::info!("IPv6 is off here; listening on IPv4 alone");
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        Err(source) => Err(SocketError { address, source }),
        Ok(socket) => Ok(socket),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // IPv4 clients have mapped addresses.
        socket.set_only_v6(false)?;
    }
    enlarge_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

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

fn ipv6_is_on() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// Requests buffers of [`BUFFER_SIZE`] bytes. If the kernel grants much less, logs once how to change that.
fn enlarge_buffers(socket: &Socket) -> std::io::Result<()> {
    static ADVISED: Once = Once::new();
    socket.set_recv_buffer_size(BUFFER_SIZE)?;
    socket.set_send_buffer_size(BUFFER_SIZE)?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    tracing::debug!(receive, send, requested = BUFFER_SIZE, "socket buffers granted");
    if let Some(advice) = advice(receive, send) {
        ADVISED.call_once(|| tracing::warn!("{advice}"));
    }
    Ok(())
}

/// What to do if the system granted buffers of these sizes in bytes; `None` if they are large enough. Linux
/// reports twice the size that it grants, for its own bookkeeping. So a reported [`BUFFER_SIZE`] is half of
/// the size requested, which is accepted.
fn advice(receive: usize, send: usize) -> Option<String> {
    let limits = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
    let too_small = limits.into_iter().filter(|(granted, _)| *granted < BUFFER_SIZE);
    let settings: Vec<_> = too_small.map(|(_, limit)| format!("{limit}={BUFFER_SIZE}")).collect();
    (!settings.is_empty()).then(|| {
        let settings = settings.join(" ");
        format!("the system grants small UDP buffers, which fast transfers overflow; raise them: sysctl -w {settings}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_only_the_limits_that_are_too_low() {
        assert_eq!(advice(2 * BUFFER_SIZE, 2 * BUFFER_SIZE), None);
        let advised = advice(425_984, 2 * BUFFER_SIZE).unwrap();
        assert!(advised.ends_with("sysctl -w net.core.rmem_max=4194304"), "{advised}");
        let advised = advice(425_984, 425_984).unwrap();
        assert!(advised.ends_with("net.core.rmem_max=4194304 net.core.wmem_max=4194304"), "{advised}");
    }
}
