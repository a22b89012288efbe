//! A network namespace as the end of a link: runs code inside it, on a thread of its own.
//! Must never move the calling thread, which could not return to its own namespace.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    panic,
    path::Path,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wan::error::Error;

/// One end of a link: its namespace, and its address on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The network namespace, as `ip netns` names it.
    pub namespace: String,
    /// Its IPv4 address; both ends are in one /24.
    pub address: Ipv4Addr,
}

impl End {
    /// An end in an existing namespace.
    pub fn new(namespace: impl Into<String>, address: Ipv4Addr) -> Self {
        Self { namespace: namespace.into(), address }
    }

    /// Its IPv6 address, which ends with the IPv4 address; both ends are in one /120.
    pub fn ipv6(&self) -> Ipv6Addr {
        Self::ipv6_of(self.address)
    }

    pub(in crate::wan) fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
        const NETWORK: u128 = 0xfd62 << 112;
        (NETWORK | u128::from(u32::from(address))).into()
    }
}

/// Runs `act` inside the namespace with this name. Sockets and devices that it opens belong to that namespace for
/// good.
pub fn run_in_namespace<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let on_its_own_thread = || -> io::Result<T> {
        let file = File::open(Path::new("/var/run/netns").join(namespace))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(act())
    };
    thread::scope(|scope| scope.spawn(on_its_own_thread).join())
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        .map_err(|source| Error::Enter { namespace: namespace.to_owned(), source })
}
