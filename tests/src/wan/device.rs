//! A TUN device: one end of the link, as its namespace sees it.
//! Must never outlive its [`Device`]: the kernel removes it when the descriptor is closed.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
};

use tun_rs::{DeviceBuilder, SyncDevice};

use super::{End, Error, namespace_pair::ip, run_in_namespace};

/// The largest packet that either end sends.
pub(super) const MTU: u16 = 1500;

/// Both addresses of a link are in one network of this size.
const PREFIX_LEN: u8 = 24;

/// How many packets may wait until the emulator reads them. The kernel's 500 are less than one burst of a fast sender;
/// what is dropped here is dropped by no rule.
const TX_QUEUE_PACKETS: u32 = 10_000;

/// What makes TCP a fair rival: windows that hold several bandwidth-delay products of the fattest link, and nothing
/// learnt from an earlier flow. Any congestion control that the kernel has is open to root; which are open to others is
/// the machine's setting and not touched.
const TCP_SETTINGS: [(&str, &str); 3] =
    [("tcp_rmem", "4096 131072 67108864"), ("tcp_wmem", "4096 65536 67108864"), ("tcp_no_metrics_save", "1")];

/// A device that is up, in its namespace, with its address.
pub(super) struct Device {
    tun: SyncDevice,
    name: String,
    namespace: String,
}

impl Device {
    pub(super) fn open(end: &End) -> Result<Self, Error> {
        let opened = run_in_namespace(&end.namespace, || {
            for (setting, value) in TCP_SETTINGS {
                fs::write(format!("/proc/sys/net/ipv4/{setting}"), value)?;
            }
            open(end.address)
        })?;
        let (tun, name) =
            opened.map_err(|source| Error::Device { namespace: end.namespace.clone(), source })?;
        Ok(Self { tun, name, namespace: end.namespace.clone() })
    }

    /// Takes its address away and gives it another one.
    pub(super) fn set_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        let ip = |arguments: &[&str]| ip(&[&["-n", self.namespace.as_str()], arguments].concat());
        ip(&["addr", "flush", "dev", &self.name])?;
        ip(&["addr", "add", &format!("{address}/{PREFIX_LEN}"), "dev", &self.name])?;
        Ok(())
    }

    /// Reads the next packet that the namespace sends; `None` if there is none right now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tun.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the namespace a packet; whether it took it.
    pub(super) fn write(&self, packet: &[u8]) -> bool {
        self.tun.send(packet).is_ok()
    }

    /// Packets that the kernel dropped before the emulator could read them.
    pub(super) fn overrun(&self) -> Result<u64, Error> {
        /// `/proc/net/dev` has eight columns of what was received, then packets, bytes, errors and drops of what was
        /// sent.
        const SENT_DROPS: usize = 11;
        let devices = run_in_namespace(&self.namespace, || fs::read_to_string("/proc/thread-self/net/dev"))?
            .map_err(|source| Error::Device { namespace: self.namespace.clone(), source })?;
        let columns =
            devices.lines().find_map(|line| line.trim_start().strip_prefix(&self.name)?.strip_prefix(':'));
        let drops = columns.and_then(|columns| columns.split_whitespace().nth(SENT_DROPS)?.parse().ok());
        Ok(drops.unwrap_or(0))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }
}

fn open(address: Ipv4Addr) -> io::Result<(SyncDevice, String)> {
    let tun = DeviceBuilder::new()
        // The kernel puts a number there: a namespace may be an end of several links.
        .name("wan%d")
        .ipv4(address, PREFIX_LEN, None)
        .mtu(MTU)
        .enable(false)
        .with(|builder| {
            builder.tx_queue_len(TX_QUEUE_PACKETS);
        })
        .build_sync()?;
    tun.set_nonblocking(true)?;
    let name = tun.name()?;
    // Before it is up, or the kernel's own router solicitations are among the counted packets. The link is IPv4 only.
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if fs::exists(&ipv6)? {
        fs::write(ipv6, "1")?;
    }
    tun.enabled(true)?;
    Ok((tun, name))
}
