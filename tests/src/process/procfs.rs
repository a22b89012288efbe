//! The memory, descriptors, threads and sockets of a running process, from `/proc`.
//! Must never enter the process's network namespace: `/proc/PID/net` already shows that namespace.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The current value.
    pub now: u64,
    /// The peak since the process started.
    pub peak: u64,
}

pub(super) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(folder(pid).join("status"))?;
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        number
            .map(|kilobytes| kilobytes * 1024)
            .with_context(|| format!("no {field} in the status of process {pid}"))
    };
    Ok(Memory { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

pub(super) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(folder(pid).join("fd"))?.count())
}

pub(super) fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(folder(pid).join("task"))?.count())
}

/// How often its threads were switched to and from, if each of them sleeps; `None` if one runs, or waits for a processor.
pub(super) fn switches_if_asleep(pid: u32) -> Result<Option<u64>> {
    let mut switches = 0;
    for thread in fs::read_dir(folder(pid).join("task"))? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { return Ok(None) };
        if !status.lines().any(|line| line.starts_with("State:\tS")) {
            return Ok(None);
        }
        let counts =
            status.lines().filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
        switches += counts.sum::<u64>();
    }
    Ok(Some(switches))
}

/// Processor time that a process has used so far, in seconds: its own and the kernel's for it.
///
/// # Errors
/// Where the process has ended.
pub fn processor_seconds(pid: u32) -> Result<f64> {
    let stat =
        fs::read_to_string(folder(pid).join("stat")).with_context(|| format!("process {pid} has ended"))?;
    ticks(&stat)
        .map(|ticks| ticks as f64 / clock_ticks_per_second() as f64)
        .with_context(|| format!("no times in {stat:?}"))
}

fn ticks(stat: &str) -> Option<u64> {
    /// `utime` and `stime` are fields 14 and 15 of proc(5); the third is the first after the name, which may hold
    /// spaces and brackets of its own.
    const UTIME: usize = 14 - 3;
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut times = behind_the_name.split_whitespace().skip(UTIME);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// Addresses on which the process itself (not just its namespace) listens by TCP, sorted.
pub(super) fn listening(pid: u32) -> Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> =
        tcp(pid)?.iter().filter(|socket| socket.state == State::Listens).map(|it| it.local).collect();
    addresses.sort();
    Ok(addresses)
}

/// The number of the process's own TCP connections that neither end has closed.
pub(super) fn connections(pid: u32) -> Result<usize> {
    Ok(tcp(pid)?.iter().filter(|socket| socket.state == State::Established).count())
}

/// The number of TCP connections to `remote` that are open or being opened, of all processes in this process's network
/// namespace: what a filter on the network counts.
pub fn connections_from(pid: u32, remote: SocketAddr) -> usize {
    let open = |socket: &&Tcp| matches!(socket.state, State::Opens | State::Established | State::HalfClosed);
    namespace_tcp(pid).iter().filter(open).filter(|socket| socket.remote == remote).count()
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Inodes of the sockets that a process holds open.
fn sockets(descriptors: &Path) -> Result<BTreeSet<u64>> {
    let links = fs::read_dir(descriptors)?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(links.filter_map(inode).collect())
}

/// A line of `/proc/PID/net/tcp`.
struct Tcp {
    local: SocketAddr,
    remote: SocketAddr,
    state: State,
    inode: u64,
}

#[derive(PartialEq, Eq)]
enum State {
    Listens,
    /// A connection that this end opens.
    Opens,
    Established,
    /// A connection that the other end has closed.
    HalfClosed,
    /// A connection that is being accepted or closed.
    Other,
}

/// The TCP sockets that a process holds open.
fn tcp(pid: u32) -> Result<Vec<Tcp>> {
    let own = sockets(&folder(pid).join("fd"))?;
    Ok(namespace_tcp(pid).into_iter().filter(|socket| own.contains(&socket.inode)).collect())
}

/// All TCP sockets of its network namespace.
fn namespace_tcp(pid: u32) -> Vec<Tcp> {
    // A kernel without IPv6 has no tcp6.
    let table = |name| fs::read_to_string(folder(pid).join(name)).unwrap_or_default();
    let tables = ["net/tcp", "net/tcp6"].map(table).concat();
    // The table's header is not such a line.
    tables.lines().filter_map(tcp_line).collect()
}

fn tcp_line(line: &str) -> Option<Tcp> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (state, inode) = (fields.get(3)?, fields.get(9)?);
    let end = |at: usize| {
        let (ip, port) = fields.get(at)?.split_once(':')?;
        Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
    };
    let state = match *state {
        "01" => State::Established,
        "02" => State::Opens,
        "08" => State::HalfClosed,
        "0A" => State::Listens,
        _ => State::Other,
    };
    Some(Tcp { local: end(1)?, remote: end(2)?, state, inode: inode.parse().ok()? })
}

/// The kernel prints an address as 32-bit words, each in the machine's own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process,
    };

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 10 20 0 0 150 50 3 4 20 0";
        assert_eq!(ticks(stat), Some(200));
    }

    #[test]
    fn listening_sockets_are_found() {
        let loopbacks = ["127.0.0.1:0", "[::1]:0"];
        // A machine may have no IPv6.
        let bound: Vec<_> = loopbacks.iter().filter_map(|address| TcpListener::bind(address).ok()).collect();
        let found = listening(process::id()).unwrap();
        assert!(!bound.is_empty());
        for listener in bound {
            let address = listener.local_addr().unwrap();
            assert!(found.contains(&address), "{address} is not among {found:?}");
        }
    }

    #[test]
    fn connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _ends: Vec<_> = (0..50)
            .map(|_| {
                (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap())
            })
            .collect();
        // Other tests have connections, too.
        assert!(connections(process::id()).unwrap() >= 100);
        assert_eq!(connections_from(process::id(), listener.local_addr().unwrap()), 50);
    }

    #[test]
    fn descriptors_and_threads_are_counted() {
        let _files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors(process::id()).unwrap() > 100);
        assert!(threads(process::id()).unwrap() >= 1);
    }

    #[test]
    fn memory_is_read() {
        let memory = memory(process::id()).unwrap();
        assert!(memory.now > 100_000 && memory.peak >= memory.now, "{memory:?}");
    }
}
