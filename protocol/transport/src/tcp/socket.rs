//! The TCP sockets of both sides, and their options.
//!
//! A kernel that lacks an option costs speed and nothing else. Must never fail a connection for that.

use docxy_protocol::congestion::Choice;
use docxy_protocol::limits::{IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Once;
use tokio::net::{TcpListener, TcpStream};

/// The congestion control of the kernel that a lossy path does not stop.
const BBR: &[u8] = b"bbr";

/// Bytes that the kernel takes and does not send yet, at most: what lies there has lost its order, and cannot be
/// withdrawn. A slow line has less. (Measured: with it a cancel frees a line of 20 Mbit/s in 0.27 s, without in 1.3 to
/// 1.7.)
pub(super) const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// What the kernel should let a connection's buffers grow to, in bytes. (Measured at 200 ms and 1 % loss: half the rate
/// with Linux's 4 MiB for sending.)
#[cfg(target_os = "linux")]
const BUFFER_BYTES: u64 = 32 * 1024 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {address}: {source}; the server needs UDP and TCP of its port")]
pub struct SocketError {
    address: SocketAddr,
    source: io::Error,
}

impl SocketError {
    pub(super) const fn new(address: SocketAddr, source: io::Error) -> Self {
        Self { address, source }
    }

    /// The port, if another process has it.
    pub(super) fn taken_port(&self) -> Option<u16> {
        (self.source.kind() == io::ErrorKind::AddrInUse).then_some(self.address.port())
    }
}

/// Listens on the address.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, SocketError> {
    listen(address).and_then(TcpListener::from_std).map_err(|source| SocketError::new(address, source))
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 clients have mapped addresses.
        socket.set_only_v6(false)?;
    }
    // Connections of the last process may still be ending.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets the options of a connection.
pub(super) fn prepare(stream: &TcpStream, choice: Choice) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEP_ALIVE_INTERVAL * 2).with_interval(KEEP_ALIVE_INTERVAL);
    let set = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = set.and_then(|()| set_for_linux(&socket)) {
        tracing::debug!(%error, "an option of a TCP socket cannot be set");
    }
    set_congestion_control(stream, choice);
}

#[cfg(target_os = "linux")]
fn set_for_linux(socket: &SockRef<'_>) -> io::Result<()> {
    static ADVISED: Once = Once::new();
    ADVISED.call_once(|| {
        let read = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        if let Some(advice) = buffer_advice(&read("tcp_rmem"), &read("tcp_wmem")) {
            tracing::warn!("{advice}");
        }
    });
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_tcp_user_timeout(Some(IDLE_TIMEOUT))
}

#[cfg(not(target_os = "linux"))]
fn set_for_linux(_: &SockRef<'_>) -> io::Result<()> {
    Ok(())
}

/// Limits the bytes that the kernel takes and does not send yet. A failure costs no more than order.
#[cfg(target_os = "linux")]
pub(super) fn limit_unsent(stream: &TcpStream, bytes: u32) {
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn limit_unsent(_: &TcpStream, _: u32) {}

/// Selects the congestion control of the kernel: CUBIC, or BBR, which may send as fast as a rate limit says. If the
/// kernel does not have BBR, logs once how to change that.
#[cfg(target_os = "linux")]
pub(super) fn set_congestion_control(stream: &TcpStream, choice: Choice) {
    static ADVISED: Once = Once::new();
    let name = match choice {
        Choice::Cubic => b"cubic",
        Choice::Auto | Choice::Fixed(_) => BBR,
    };
    if let Err(error) = SockRef::from(stream).set_tcp_congestion(name)
        && name == BBR
    {
        let advice = advice(&error);
        ADVISED.call_once(|| tracing::warn!("{advice}"));
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn set_congestion_control(_: &TcpStream, _: Choice) {}

/// How the kernel sends for this process over TCP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KernelCongestion {
    /// The congestion control that a connection gets, as the kernel names it.
    pub name: String,
    /// What to do for a better one, if it is not BBR.
    pub advice: Option<String>,
}

/// What a new connection gets now. `None` if the system does not tell.
#[must_use]
#[cfg(target_os = "linux")]
pub fn kernel_congestion() -> Option<KernelCongestion> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
    let advice = socket.set_tcp_congestion(BBR).err().map(|error| advice(&error));
    let name = String::from_utf8(socket.tcp_congestion().ok()?).ok()?;
    Some(KernelCongestion { name: name.trim_end_matches('\0').to_owned(), advice })
}

/// What a new connection gets now. `None` if the system does not tell.
#[must_use]
#[cfg(not(target_os = "linux"))]
pub fn kernel_congestion() -> Option<KernelCongestion> {
    None
}

/// What to do for larger buffers, if the kernel's limits (`min default max`, in bytes) are known, and below half of what
/// they should be.
#[cfg(target_os = "linux")]
fn buffer_advice(receive: &str, send: &str) -> Option<String> {
    let max = |limits: &str| limits.split_whitespace().nth(2)?.parse::<u64>().ok();
    let limits = [(receive, "tcp_rmem=\"4096 131072"), (send, "tcp_wmem=\"4096 65536")];
    let too_small =
        limits.into_iter().filter(|(limits, _)| max(limits).is_some_and(|max| max < BUFFER_BYTES / 2));
    let settings: Vec<_> =
        too_small.map(|(_, setting)| format!("net.ipv4.{setting} {BUFFER_BYTES}\"")).collect();
    (!settings.is_empty()).then(|| {
        let settings = settings.join(" ");
        format!("the system grants small TCP buffers, which slow down long paths; raise them: sysctl -w {settings}")
    })
}

/// What to do for BBR.
#[cfg(target_os = "linux")]
fn advice(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "the kernel has not loaded it: modprobe tcp_bbr, and for each boot: echo tcp_bbr > \
             /etc/modules-load.d/docxy.conf"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "unprivileged programs may not use it: sysctl -w net.ipv4.tcp_allowed_congestion_control=\"reno cubic bbr\""
                .to_owned()
        }
        _ => error.to_string(),
    };
    format!("TCP without BBR is slow on lossy paths; {remedy}")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_bbr_and_one_that_forbids_it_are_told_apart() {
        let missing = advice(&io::ErrorKind::NotFound.into());
        assert!(missing.contains("modprobe tcp_bbr") && !missing.contains("sysctl"), "{missing}");
        let forbidden = advice(&io::ErrorKind::PermissionDenied.into());
        assert!(forbidden.contains("tcp_allowed_congestion_control"), "{forbidden}");
    }

    #[test]
    fn advice_names_only_the_buffers_that_are_too_small() {
        let (small, large) = ("4096\t16384\t4194304\n", "4096\t131072\t33554432\n");
        assert_eq!(buffer_advice(large, large), None);
        assert_eq!(buffer_advice("", "not known"), None);
        let advised = buffer_advice(large, small).unwrap();
        assert!(advised.ends_with("sysctl -w net.ipv4.tcp_wmem=\"4096 65536 33554432\""), "{advised}");
        let advised = buffer_advice(small, small).unwrap();
        assert!(
            advised.contains("-w net.ipv4.tcp_rmem=\"4096 131072 33554432\" net.ipv4.tcp_wmem="),
            "{advised}"
        );
    }

    #[test]
    fn the_congestion_control_is_bbr_or_there_is_advice() {
        let congestion = kernel_congestion().unwrap();
        assert_eq!(congestion.name == "bbr", congestion.advice.is_none(), "{congestion:?}");
        assert!(!congestion.name.is_empty());
    }

    #[tokio::test]
    async fn a_connection_has_its_options() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream, Choice::Cubic);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(IDLE_TIMEOUT));
        assert!(socket.tcp_congestion().unwrap().starts_with(b"cubic"));
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let holder = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let error = bind(holder.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.taken_port(), Some(holder.local_addr().unwrap().port()));
        let text = error.to_string();
        assert!(text.contains(&format!("TCP {}", holder.local_addr().unwrap())), "{text}");
    }
}
