//! Connects to a URL's host, at the addresses that the guard allows.
//!
//! Must dial the checked addresses themselves: a second DNS lookup could return others (DNS rebinding).

use crate::upstream::http::address_guard::{AddressGuard, GuardError, HTTPS_PORT};
use docxy_protocol::limits::UPSTREAM_CONNECT_TIMEOUT;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

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
        let addresses = self.guard().addresses(host, to.port_u16().unwrap_or(HTTPS_PORT)).await?;
        // hyper's connector tries IPv6 and IPv4 together (RFC 8305).
        let mut http = HttpConnector::new_with_resolver(CheckedAddresses(addresses));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(UPSTREAM_CONNECT_TIMEOUT));
        // A placeholder: hyper would not use the resolver for a literal address, nor the resolver's port if
        // the URL has one.
        Ok(http.call(Uri::from_static("https://checked")).await?)
    }
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

/// A resolver that returns the checked addresses.
#[derive(Debug, Clone)]
struct CheckedAddresses(Vec<SocketAddr>);

impl Service<Name> for CheckedAddresses {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(self.0.clone().into_iter()))
    }
}
