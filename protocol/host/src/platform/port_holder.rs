//! Which process has a port, for the error of a program that cannot listen there.
//!
//! Must never fail: where the system does not say, the text says who probably has it, and how to find out.

use docxy_protocol::text::clean;
use std::fs;
use std::path::Path;

/// The state of a TCP socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A transport protocol, whose ports are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Display)]
pub enum Protocol {
    /// TCP.
    #[display("tcp")]
    Tcp,
    /// UDP.
    #[display("udp")]
    Udp,
}

/// Says who has this port of this machine. `usual` names programs that often do.
#[must_use]
pub fn port_holder(port: u16, protocol: Protocol, usual: &str) -> String {
    match process(port, protocol) {
        Some((process, name)) => format!("{name} (process {process}) has the port"),
        None => {
            let kind = if protocol == Protocol::Tcp { "lt" } else { "lu" };
            format!("perhaps {usual} has the port: sudo ss -{kind}np 'sport = :{port}' tells")
        }
    }
}

/// The number and the name of the process that has the port. Only root sees processes of other users.
/// Those of other namespaces are not shown.
fn process(port: u16, protocol: Protocol) -> Option<(u32, String)> {
    let tables = [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")];
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets = tables.iter().flat_map(|table| sockets(table, port, protocol));
    let links: Vec<_> = sockets.map(|inode| format!("socket:[{inode}]")).collect();
    let has_socket = |directory: &Path| {
        let descriptors = fs::read_dir(directory.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|target| links.iter().any(|link| target.as_os_str() == &**link))
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let directory = entry.path();
        let name = || fs::read_to_string(directory.join("comm")).ok();
        has_socket(&directory).then(name)?.map(|name| (process, clean(name.trim()).to_string()))
    })
}

/// The inodes of the sockets at this port, in a table of the kernel (proc_net(5)).
fn sockets(table: &str, port: u16, protocol: Protocol) -> impl Iterator<Item = &str> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let is_meant =
            u16::from_str_radix(local_port, 16) == Ok(port) && (protocol == Protocol::Udp || state == LISTEN);
        fields.nth(5).filter(|_| is_meant)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_is_named() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::]:0").unwrap());
        for (address, protocol) in
            [(tcp.local_addr().unwrap(), Protocol::Tcp), (udp.local_addr().unwrap(), Protocol::Udp)]
        {
            let text = port_holder(address.port(), protocol, "another one");
            assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        }
    }

    #[test]
    fn without_a_process_the_text_says_how_to_find_it() {
        let text = port_holder(0, Protocol::Tcp, "another one");
        assert_eq!(text, "perhaps another one has the port: sudo ss -ltnp 'sport = :0' tells");
    }
}
