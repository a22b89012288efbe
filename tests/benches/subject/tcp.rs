//! One TCP connection of the kernel, with TLS or without.
//! Must never be tuned against TCP, which is the competitor to beat.

use anyhow::Result;

use super::{Role, RunningSubject, Subject, sender::Sender};
use crate::topology::Topology;

/// Bulk over TCP.
pub(crate) struct Tcp {
    name: &'static str,
    congestion: Option<&'static str>,
    tls: bool,
}

impl Tcp {
    /// TCP alone, with the machine's own congestion control.
    pub(crate) const PLAIN: Self = Self { name: "tcp", congestion: None, tls: false };
    /// TLS by rustls over TCP.
    pub(crate) const TLS: Self = Self { name: "tls", congestion: None, tls: true };
    /// The kernel's BBR.
    pub(crate) const BBR: Self = Self { name: "tcp-bbr", congestion: Some("bbr"), tls: false };
    /// The kernel's Cubic.
    pub(crate) const CUBIC: Self = Self { name: "tcp-cubic", congestion: Some("cubic"), tls: false };
}

impl Subject for Tcp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject> {
        let mut sending = topology.server_peer("send-tcp").with(format!("--ip={}", topology.server_ip));
        if let Some(congestion) = self.congestion {
            sending = sending.with(format!("--congestion={congestion}"));
        }
        if self.tls {
            sending = sending.with("--tls");
        }
        let sender = Sender::start(&sending)?;
        let mut reader =
            topology.client_peer("read-tcp").with(format!("--from={}", sender.announcement.address));
        if self.tls {
            reader = reader.with(format!("--tls={}", sender.announcement.pin));
        }
        let pid = sender.pid();
        Ok(RunningSubject::new(Role::Client, reader).with_process(Role::Server, pid).with_owner(sender))
    }
}
