//! Connects to a URL's host, at the addresses that the guard allows, directly or through the operator's proxy.
//!
//! Must dial the checked addresses themselves: a second DNS lookup could return others (DNS rebinding).

use crate::upstream::http::address_guard::{AddressGuard, GuardError, HTTPS_PORT};
use docxy_host::net::happy_eyeballs::{self, RaceError};
use docxy_host::net::proxy::{Destination, Proxy};
use docxy_protocol::limits::UPSTREAM_CONNECT_TIMEOUT;
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use std::error::Error;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// Time to resolve a host that may be left to the proxy: a resolver that nothing answers takes much longer.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes TCP connections to allowed addresses, for the TLS layer. Clones share the guard.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    guard: Arc<RwLock<AddressGuard>>,
}

type ConnectError = Box<dyn Error + Send + Sync>;

impl Connector {
    pub(super) fn new(guard: AddressGuard) -> Self {
        Self { guard: Arc::new(RwLock::new(guard)) }
    }

    /// The guard of new connections.
    pub(super) fn guard(&self) -> AddressGuard {
        self.guard.read().clone()
    }

    /// Replaces the guard for new connections.
    pub(super) fn set_guard(&self, guard: AddressGuard) {
        *self.guard.write() = guard;
    }

    async fn connect(self, to: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = to.host().ok_or_else(|| GuardError::NoAddress { host: to.to_string() })?;
        let (guard, port) = (self.guard(), to.port_u16().unwrap_or(HTTPS_PORT));
        let proxy = guard.proxy().and_then(|proxy| Some((&proxy.rules, proxy.rules.proxy_to(host, port)?)));
        match proxy {
            None => connect_directly(guard.addresses(host, port).await?).await,
            Some((rules, proxy)) => {
                let addresses = resolve_for_proxy(&guard, host, port).await?;
                // The name may lead to this machine, or to an exception.
                let is_direct = |a: &SocketAddr| rules.proxy_to(&a.ip().to_string(), port).is_none();
                let direct: Vec<_> = addresses.iter().flatten().copied().filter(is_direct).collect();
                if direct.is_empty() {
                    connect_by_proxy(proxy, &guard, host, port, addresses).await
                } else {
                    connect_directly(direct).await
                }
            }
        }
    }
}

async fn connect_directly(addresses: Vec<SocketAddr>) -> Result<TokioIo<TcpStream>, ConnectError> {
    let racing = happy_eyeballs::race(ready(Ok(addresses.into_iter())), None, TcpStream::connect);
    let raced = tokio::time::timeout(UPSTREAM_CONNECT_TIMEOUT, racing).await?;
    let (_, stream) = raced.map_err(|mut failed| {
        failed.attempts.pop().map_or_else(|| io::ErrorKind::AddrNotAvailable.into(), |(_, error)| error)
    })?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// The checked addresses of a host; `None` if it cannot be resolved here, and is left to the proxy.
async fn resolve_for_proxy(
    guard: &AddressGuard,
    host: &str,
    port: u16,
) -> Result<Option<Vec<SocketAddr>>, GuardError> {
    if !guard.allows_by_name(host, port) {
        let addresses = guard.addresses(host, port).await;
        return addresses.map(Some).map_err(|error| match error {
            GuardError::Resolve { host, source } => GuardError::ResolveForProxy { host, source },
            other => other,
        });
    }
    match tokio::time::timeout(RESOLVE_TIMEOUT, guard.addresses(host, port)).await {
        Ok(Ok(addresses)) => Ok(Some(addresses)),
        Err(_) | Ok(Err(GuardError::Resolve { .. } | GuardError::NoAddress { .. })) => Ok(None),
        Ok(Err(refused)) => Err(refused),
    }
}

/// Connects through the proxy: to the checked addresses, or by name to a host that is left to it.
async fn connect_by_proxy(
    proxy: &Proxy,
    guard: &AddressGuard,
    host: &str,
    port: u16,
    addresses: Option<Vec<SocketAddr>>,
) -> Result<TokioIo<TcpStream>, ConnectError> {
    if let Some(addresses) = addresses {
        // A failure of the proxy itself ends the race: it would be the same for each address.
        let connect = async |address| match proxy.connect(&Destination::Address(address)).await {
            Err(error) if error.failure.is_about_destination() => Err(error),
            ended => Ok(ended),
        };
        let raced = happy_eyeballs::race(ready(Ok(addresses.into_iter())), None, connect).await;
        match raced {
            Ok((_, connected)) => return Ok(TokioIo::new(connected?)),
            // Some proxies allow names only.
            Err(_) if guard.allows_by_name(host, port) => {}
            Err(RaceError { attempts, .. }) => {
                let first = attempts.into_iter().next().map(|(_, error)| error.into());
                return Err(first.unwrap_or_else(|| GuardError::NoAddress { host: host.to_owned() }.into()));
            }
        }
    }
    let host = host.parse().map_err(|_| GuardError::NoAddress { host: host.to_owned() })?;
    Ok(TokioIo::new(proxy.connect(&Destination::Name(host, port)).await?))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().connect(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flags, Settings};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_proxy_that_refuses_addresses_gets_the_name_of_an_allowed_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let is_name = request[..length].starts_with(b"CONNECT registry-1.docker.io:443 ");
                let status = if is_name { "200 OK" } else { "403 Forbidden" };
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("server.toml");
        std::fs::write(&config, format!("[proxy]\nurl = '{url}'")).unwrap();
        let settings = Settings::load(&Flags::of_config(config)).unwrap();
        let guard = AddressGuard::new(&settings.registries[0], &settings);
        let proxy = guard.proxy().unwrap().rules.proxy();
        let addresses = || Some(vec!["192.0.2.1:443".parse().unwrap(), "192.0.2.2:443".parse().unwrap()]);
        let allowed = connect_by_proxy(proxy, &guard, "registry-1.docker.io", 443, addresses()).await;
        assert!(allowed.is_ok(), "{:?}", allowed.err());
        let other = connect_by_proxy(proxy, &guard, "auth.docker.io", 443, addresses()).await;
        assert!(other.unwrap_err().to_string().contains("does not allow this destination (403)"));
    }
}
