//! A leg in memory, for tests: what is sent arrives at once, in order, until the test cuts the leg.
//!
//! Windows, resets, stops and closes behave as on QUIC. A cut is a lost connection: neither side is told, and both
//! keep what had arrived.

mod link;
mod stream;

pub(crate) use stream::{Receiver, Sender};

use crate::error::SessionError;
use crate::path::Path;
use crate::session::Traffic;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::CloseCode;
use docxy_protocol::text::clean;
use link::{CLIENT, Ended, Link, SERVER};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The round-trip time that the leg claims.
const RTT: Duration = Duration::from_millis(10);

/// A client's end and its server's, and how to cut the leg between them.
pub(crate) fn pair() -> (End, End, Cut) {
    let link = Arc::<Link>::default();
    let end = |side| End(Arc::new(Side { link: Arc::clone(&link), side, congestion: Handle::default() }));
    (end(CLIENT), end(SERVER), Cut(link))
}

/// Cuts a leg, as a dead path does.
#[derive(Debug, Clone)]
pub struct Cut(Arc<Link>);

impl Cut {
    /// Loses both sessions now.
    pub fn now(&self) {
        self.0.change(|state| state.end(Ended::Lost));
    }

    /// Loses both sessions when the client has received this many more bytes, over all streams. Not one more
    /// arrives.
    pub fn after(&self, bytes: u64) {
        self.0.change(|state| state.client_may_receive = Some(bytes));
    }
}

/// One end of the leg. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct End(Arc<Side>);

#[derive(Debug)]
struct Side {
    link: Arc<Link>,
    side: usize,
    congestion: Handle,
}

/// Like a connection whose last handle is dropped.
impl Drop for Side {
    fn drop(&mut self) {
        let (side, code) = (self.side, CloseCode::Done);
        self.link.change(|state| state.end(Ended::Closed { side, code, reason: clean(code.reason()) }));
    }
}

impl End {
    pub(crate) async fn open(&self, _: Traffic) -> Result<(Sender, Receiver), SessionError> {
        let Side { link, side, .. } = &*self.0;
        let stream = link.change(|state| state.open(*side))?;
        Ok(self.halves(stream))
    }

    pub(crate) async fn accept(&self) -> Result<(Sender, Receiver), SessionError> {
        let Side { link, side, .. } = &*self.0;
        let accepted = poll_fn(|cx| link.poll(cx, |state| state.accept(*side))).await?;
        Ok(self.halves(accepted))
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let (side, reason) = (self.0.side, clean(reason));
        self.0.link.change(|state| state.end(Ended::Closed { side, code, reason }));
    }

    pub(crate) fn refuse(&self, code: CloseCode, reason: &str) {
        self.close(code, reason);
    }

    pub(crate) async fn lingers(&self) {}

    pub(crate) fn close_reason(&self) -> Option<SessionError> {
        self.0.link.change(|state| state.error(self.0.side))
    }

    pub(crate) async fn closed(&self) -> SessionError {
        poll_fn(|cx| self.0.link.poll(cx, |state| state.error(self.0.side))).await
    }

    pub(crate) async fn wait_idle(&self) {}

    pub(crate) async fn close_confirmed(&self) {}

    pub(crate) const fn wire_version(&self) -> Option<u16> {
        None
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    pub(crate) const fn raise_limits(&self) {}

    pub(crate) const fn set_send_window(&self, _: u64) {}

    pub(crate) fn path(&self) -> Path {
        let received = self.0.link.change(|state| state.received);
        let (own, peer) = (received[self.0.side], received[1 - self.0.side]);
        Path {
            rtt: RTT,
            bytes_sent: peer,
            bytes_received: own,
            datagrams_received: own,
            ack_eliciting_sent: peer,
            ..Path::default()
        }
    }

    pub(crate) fn congestion(&self) -> &Handle {
        &self.0.congestion
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn halves(&self, stream: usize) -> (Sender, Receiver) {
        (Sender::new(self.clone(), stream), Receiver::new(self.clone(), stream))
    }
}
