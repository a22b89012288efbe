//! Two bare QUIC endpoints: the transport alone, without the product.
//! Must never be tuned differently from the product: see [`Tuning`].

use anyhow::Result;

use super::{Role, RunningSubject, Subject, sender::Sender};
use crate::{peer::Tuning, topology::Topology};

/// quinn alone.
pub(crate) struct Quic {
    /// Its settings.
    pub(crate) tuning: Tuning,
}

impl Subject for Quic {
    fn name(&self) -> &'static str {
        match self.tuning {
            Tuning::Ours => "raw-quic",
            Tuning::Stock => "quinn-cubic",
        }
    }

    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject> {
        let tuning = match self.tuning {
            Tuning::Ours => "--tuning=ours",
            Tuning::Stock => "--tuning=stock",
        };
        let sending =
            topology.server_peer("send-quic").with(format!("--ip={}", topology.server_ip)).with(tuning);
        let sender = Sender::start(&sending)?;
        let (address, pin) = (sender.announcement.address, sender.announcement.pin);
        let reader = topology
            .client_peer("read-quic")
            .with(format!("--from={address}"))
            .with(format!("--pin={pin}"))
            .with(tuning);
        let pid = sender.pid();
        Ok(RunningSubject::new(Role::Client, reader).with_process(Role::Server, pid).with_owner(sender))
    }
}
