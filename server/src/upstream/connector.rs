//! Connects to what a URL names, once the guard has said which addresses that may be.
//!
//! The addresses that were checked are the ones dialled: nothing is resolved a second time, so a
//! name that changes its mind in between (DNS rebinding) gains nothing.

use super::guard::{Guard, GuardError, HTTPS_PORT};
use docxy_protocol::limits::UPSTREAM_CONNECT_TIMEOUT;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

/// TCP connections to guarded addresses, for the layer that does TLS. All clones have one guard.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    guard: Arc<RwLock<Guard>>,
}

type ConnectError = Box<dyn Error + Send + Sync>;

impl Connector {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard: Arc::new(RwLock::new(guard)) }
    }

    /// The guard of new connections.
    pub(super) fn guard(&self) -> Guard {
        self.guard.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has another guard from now on.
    pub(super) fn set_guard(&self, guard: Guard) {
        *self.guard.write().unwrap_or_else(PoisonError::into_inner) = guard;
    }

    async fn connect(self, to: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = to.host().ok_or_else(|| GuardError::NoAddress { host: to.to_string() })?;
        let addresses = self.guard().addresses(host, to.port_u16().unwrap_or(HTTPS_PORT)).await?;
        // hyper's, for its way of trying IPv6 and IPv4 at once.
        let mut http = HttpConnector::new_with_resolver(Settled(addresses));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(UPSTREAM_CONNECT_TIMEOUT));
        // It would not ask the resolver about a literal address, nor take its port beside one in the URL.
        Ok(http.call(Uri::from_static("https://settled")).await?)
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

/// Addresses that are known already, in the place of DNS.
#[derive(Debug, Clone)]
struct Settled(Vec<SocketAddr>);

impl Service<Name> for Settled {
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
