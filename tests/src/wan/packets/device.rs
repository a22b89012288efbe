//! A TUN device: one end of the link, inside its namespace.
//! Must never outlive its [`Device`]: the kernel removes it when the descriptor is closed.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
};

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::wan::{
    error::Error,
    packets::{
        namespace::{End, run_in_namespace},
        namespace_pair::ip,
    },
};

/// The largest packet of either end, in bytes.
pub(in crate::wan) const MTU: u16 = 1500;

/// The prefix lengths of the networks that hold both addresses of a link.
const PREFIX_LEN: u8 = 24;
const IPV6_PREFIX_LEN: u8 = 120;

/// How many packets may wait until the emulator reads them. The kernel's default of 500 is less than one burst of a
/// fast sender, and the emulator does not see the packets that are dropped here.
const TX_QUEUE_PACKETS: u32 = 10_000;

/// Makes TCP a fair competitor: its windows may hold several bandwidth-delay products of the fastest link, and a
/// flow learns nothing from earlier ones. Root may use every congestion control of the kernel; the setting for
/// other users is the machine's and is not changed.
const TCP_SETTINGS: [(&str, &str); 3] =
    [("tcp_rmem", "4096 131072 67108864"), ("tcp_wmem", "4096 65536 67108864"), ("tcp_no_metrics_save", "1")];

/// IPv6 with the given address alone, without a packet of its own.
const IPV6_SETTINGS: [(&str, &str); 3] = [("disable_ipv6", "0"), ("addr_gen_mode", "1"), ("accept_ra", "0")];

/// A device in its namespace, up and with its addresses.
pub(in crate::wan) struct Device {
    tun: SyncDevice,
    name: String,
    namespace: String,
}

impl Device {
    pub(in crate::wan) fn open(end: &End) -> Result<Self, Error> {
        let opened = run_in_namespace(&end.namespace, || {
            for (setting, value) in TCP_SETTINGS {
                fs::write(format!("/proc/sys/net/ipv4/{setting}"), value)?;
            }
            open(end)
        })?;
        let (tun, name) =
            opened.map_err(|source| Error::Device { namespace: end.namespace.clone(), source })?;
        Ok(Self { tun, name, namespace: end.namespace.clone() })
    }

    /// Replaces its addresses.
    pub(in crate::wan) fn set_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        let ip = |arguments: &[&str]| ip(&[&["-n", self.namespace.as_str()], arguments].concat());
        ip(&["addr", "flush", "dev", &self.name])?;
        let ipv6 = End::ipv6_of(address);
        for address in [format!("{address}/{PREFIX_LEN}"), format!("{ipv6}/{IPV6_PREFIX_LEN}")] {
            ip(&["addr", "add", &address, "dev", &self.name])?;
        }
        Ok(())
    }

    /// Reads the next packet that the namespace sends; `None` if there is none right now.
    pub(in crate::wan) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tun.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the namespace. Returns whether the device accepted it.
    pub(in crate::wan) fn write(&self, packet: &[u8]) -> bool {
        self.tun.send(packet).is_ok()
    }

    /// Packets that the kernel dropped before the emulator could read them.
    pub(in crate::wan) fn overrun(&self) -> Result<u64, Error> {
        /// `/proc/net/dev` has eight columns of receive counters, then packets, bytes, errors and drops of the send
        /// counters.
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

fn open(end: &End) -> io::Result<(SyncDevice, String)> {
    let tun = DeviceBuilder::new()
        // The kernel replaces `%d` by a number, as a namespace may be an end of several links.
        .name("wan%d")
        .ipv4(end.address, PREFIX_LEN, None)
        .mtu(MTU)
        .enable(false)
        .with(|builder| {
            builder.tx_queue_len(TX_QUEUE_PACKETS);
        })
        .build_sync()?;
    tun.set_nonblocking(true)?;
    let name = tun.name()?;
    // Before the device is up, or the kernel's router solicitations would be counted.
    let settings = format!("/proc/sys/net/ipv6/conf/{name}");
    if fs::exists(&settings)? {
        for (setting, value) in IPV6_SETTINGS {
            fs::write(format!("{settings}/{setting}"), value)?;
        }
        tun.add_address_v6(end.ipv6(), IPV6_PREFIX_LEN)?;
    }
    tun.enabled(true)?;
    Ok((tun, name))
}
