//! How a TCP connection to a server is opened: directly, or in another way that the caller knows, such as a proxy; and
//! whether it may be.

use futures_util::future::BoxFuture;
use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

type Connect = dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync;
type Permits = dyn Fn(Purpose) -> Option<Permit> + Send + Sync;

/// What allows a connection. It is dropped after the connection is closed.
pub type Permit = Arc<dyn Any + Send + Sync>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It begins a session.
    Session,
    /// It carries the large bodies of a session. The first connection does that, too.
    Bulk,
    /// It takes the place of one whose rate has collapsed.
    Hedge,
}

/// Opens TCP connections. Clones share the way.
#[derive(Clone, derive_more::Debug)]
pub struct Connector {
    #[debug(skip)]
    connect: Arc<Connect>,
    #[debug(skip)]
    permits: Arc<Permits>,
}

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
        let connect = Arc::new(move |address| -> BoxFuture<'static, _> { Box::pin(connect(address)) });
        Self { connect, permits: Arc::new(|_| Some(Arc::new(()))) }
    }

    /// The same, which opens no connection without a permit.
    #[must_use]
    pub fn with_permits(self, permits: impl Fn(Purpose) -> Option<Permit> + Send + Sync + 'static) -> Self {
        Self { permits: Arc::new(permits), ..self }
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        purpose: Purpose,
    ) -> io::Result<(TcpStream, Permit)> {
        let no_permit = || io::Error::new(io::ErrorKind::QuotaExceeded, "no other connection is allowed now");
        let permit = (self.permits)(purpose).ok_or_else(no_permit)?;
        Ok(((self.connect)(address).await?, permit))
    }
}
