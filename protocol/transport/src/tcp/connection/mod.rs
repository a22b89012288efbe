//! One connection of a session: what it has to send, and the task that drives it.

mod driver;
mod load;
mod metered;
mod outbox;
mod outgoing;
mod probe;
mod rate_watch;
mod send_rate;

pub(super) use driver::{ControlStream, Driver, Http2, Role};
pub(super) use load::{Load, LoadedStream};
pub(super) use metered::{Meter, Metered};
pub(super) use outbox::{CONTROL, Outbox};
pub(super) use outgoing::{Outcome, Wire};
pub(super) use probe::Probe;

use bytes::Bytes;
use h2::client::SendRequest;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One connection, as its session knows it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) outbox: Arc<Outbox>,
    pub(super) meter: Arc<Meter>,
    pub(super) probe: Arc<Probe>,
    pub(super) load: Arc<Load>,
    /// A client's, to open streams.
    pub(super) requests: Option<SendRequest<Bytes>>,
    /// Closed when the driver has ended.
    open: mpsc::Sender<()>,
}

impl Connection {
    /// A connection, and what its driver drops at its end.
    pub(super) fn new(
        meter: Arc<Meter>,
        probe: Arc<Probe>,
        requests: Option<SendRequest<Bytes>>,
    ) -> (Self, mpsc::Receiver<()>) {
        let (open, ended) = mpsc::channel(1);
        (Self { outbox: Outbox::new(), meter, probe, load: Arc::default(), requests, open }, ended)
    }

    /// Waits until it is closed.
    pub(super) async fn closed(&self) {
        self.open.closed().await;
    }

    /// Asks the driver for a ping.
    pub(super) fn ping(&self) {
        self.probe.want();
        self.outbox.wake_driver();
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outbox, &other.outbox)
    }
}
