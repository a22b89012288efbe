//! Multicast DNS (RFC 6762, RFC 6763): announces the port for neighbours, and listens to their announcements.
//!
//! The only module that names mdns-sd. Must never announce what this client has, nor the name of this machine.

use super::Neighbours;
use docxy_host::random::random_u64;
use mdns_sd::{Receiver, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

const SERVICE: &str = "_docxy._tcp.local.";

/// The pause before it is tried again after the daemon has closed the search.
const SEARCH_PAUSE: Duration = Duration::from_secs(10);

/// How long the end of the program waits for the daemon.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// The network is not searched.
#[derive(Debug, thiserror::Error)]
#[error("multicast DNS does not work here: {0}")]
pub(super) struct DiscoveryError(#[from] mdns_sd::Error);

/// Announces and listens until it is dropped.
#[derive(derive_more::Debug)]
pub(super) struct Discovery {
    #[debug(skip)]
    daemon: ServiceDaemon,
    _search: AbortOnDropHandle<()>,
}

impl Discovery {
    /// Announces this port, and tells `neighbours` of others.
    pub(super) fn start(port: u16, neighbours: Neighbours) -> Result<Self, DiscoveryError> {
        let daemon = ServiceDaemon::new()?;
        let name = format!("docxy-{:016x}", random_u64());
        let none: &[(&str, &str)] = &[];
        let service = ServiceInfo::new(SERVICE, &name, &format!("{name}.local."), "", port, none)?;
        let own = service.get_fullname().to_owned();
        daemon.register(service.enable_addr_auto())?;
        let searching = daemon.clone();
        let search = tokio::spawn(async move {
            loop {
                match searching.browse(SERVICE) {
                    Ok(events) => listen(&events, &own, &neighbours).await,
                    Err(error) => tracing::debug!(%error, "cannot search for neighbours"),
                }
                tokio::time::sleep(SEARCH_PAUSE).await;
            }
        });
        Ok(Self { daemon, _search: AbortOnDropHandle::new(search) })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // It says goodbye, so that no neighbour asks this port any more. The program ends right after.
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE_TIMEOUT);
        }
    }
}

/// Passes announcements on, until the daemon closes the search.
async fn listen(events: &Receiver<ServiceEvent>, own: &str, neighbours: &Neighbours) {
    while let Ok(event) = events.recv_async().await {
        match event {
            ServiceEvent::ServiceResolved(found) if found.get_fullname() != own => {
                let port = found.get_port();
                let addresses = found.get_addresses().iter().map(|address| socket_address(address, port));
                neighbours.announced(found.get_fullname(), addresses.collect());
            }
            ServiceEvent::ServiceRemoved(_, name) => neighbours.gone(&name),
            _ => {}
        }
    }
}

fn socket_address(address: &ScopedIp, port: u16) -> SocketAddr {
    match (address, address.to_ip_addr()) {
        (ScopedIp::V6(scoped), IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, scoped.scope_id().index).into()
        }
        (_, ip) => (ip, port).into(),
    }
}
