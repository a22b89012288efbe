//! Opens the sockets for engines.

use docxy_host::net::listen_address::{ListenAddress, advice_on};
use docxy_host::platform::port_holder::{Protocol, port_holder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// The frontend could not start: an address is taken, or not ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {advice}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
    advice: String,
}

/// Listens on this address. A port alone and `localhost` are both loopback addresses, or IPv4's alone where IPv6 is off.
pub(in crate::frontend) async fn bind(listen: ListenAddress) -> Result<Vec<TcpListener>, ListenError> {
    let port = match listen {
        ListenAddress::Port(port) | ListenAddress::Localhost(port) => port,
        ListenAddress::Exact(address) => return Ok(vec![bind_to(address).await?]),
    };
    let v4 = bind_to((Ipv4Addr::LOCALHOST, port).into()).await?;
    // Port 0 is another one now.
    let port = v4.local_addr().map_or(port, |address| address.port());
    match bind_to((Ipv6Addr::LOCALHOST, port).into()).await {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(error) => {
            tracing::info!(%error, "IPv6 is off here; listening on IPv4 alone");
            Ok(vec![v4])
        }
    }
}

async fn bind_to(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| {
        let mut advice = "pass another address with --listen".to_owned();
        if source.kind() == io::ErrorKind::AddrInUse {
            let usual = "another docxy-client, or the container of a registry";
            advice = format!("{}; end that, or {advice}", port_holder(address.port(), Protocol::Tcp, usual));
        } else if let Some(why) = advice_on(source.kind()) {
            advice = format!("{why}; {advice}");
        }
        ListenError { address, source, advice }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_alone_is_that_of_both_loopback_addresses() {
        for listen in [ListenAddress::Port(0), ListenAddress::Localhost(0)] {
            let listeners = bind(listen).await.unwrap();
            let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
            let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
            assert_eq!(addresses.len(), if has_ipv6 { 2 } else { 1 });
            assert!(
                addresses
                    .iter()
                    .all(|address| address.ip().is_loopback() && address.port() == addresses[0].port())
            );
            let taken = bind(ListenAddress::Port(addresses[0].port())).await.unwrap_err().to_string();
            assert!(taken.contains(&format!("(process {}) has the port", std::process::id())), "{taken}");
        }
    }
}
