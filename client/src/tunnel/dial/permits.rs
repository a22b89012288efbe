//! Which TCP connections to one server this user's programs may open.
//!
//! A session needs one, and goes on without the others. So those must never keep the next session from its first one.

use docxy_host::files::shared_permits::SharedPermits;
use docxy_protocol::digester::Digester;
use docxy_protocol::limits::TCP_CONNECTIONS_PER_SERVER_MAX;
use docxy_protocol::link::Link;
use docxy_transport::{Permit, Purpose};
use std::path::Path;
use std::sync::Arc;

/// The permits for one server. Clones share them, and so do all processes with the same directory.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionPermits(SharedPermits);

impl ConnectionPermits {
    /// Those for the server of this link, in the directory that this user's processes share.
    pub(crate) fn new(runtime: Option<&Path>, link: &Link) -> Self {
        // A name of any length has a short file name.
        let server = Digester::sha256().digest(link.address().as_bytes());
        Self(SharedPermits::new(runtime, &format!("tcp-{}", &server.hex()[..16])))
    }

    /// A permit, if there is one for this purpose.
    pub(super) fn acquire(&self, purpose: Purpose) -> Option<Permit> {
        let others = match purpose {
            Purpose::Session => 0,
            Purpose::Bulk => 1,
            Purpose::Hedge => 2,
        };
        let permit = self.0.acquire(TCP_CONNECTIONS_PER_SERVER_MAX - others)?;
        Some(Arc::new(permit))
    }
}
