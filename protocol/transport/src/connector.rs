//! How a TCP connection to a server is opened: directly, or in another way that the caller knows, such as a proxy.

use futures_util::future::BoxFuture;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

type Connect = dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync;

/// Opens TCP connections. Clones share the way.
#[derive(Clone, derive_more::Debug)]
pub struct Connector(#[debug(skip)] Arc<Connect>);

impl Connector {
    /// Straight to the address.
    #[must_use]
    pub fn direct() -> Self {
        Self::new(TcpStream::connect)
    }

    /// As this function does. It gets the address of the server, and returns a connection on which the server's bytes
    /// come.
    pub fn new<F>(connect: impl Fn(SocketAddr) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<TcpStream>> + Send + 'static,
    {
        Self(Arc::new(move |address| Box::pin(connect(address))))
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        (self.0)(address).await
    }
}
