//! A bare pair of QUIC endpoints: what the transport can do without a product around it.
//! Must never be tuned apart from the product: see [`Tuning`].

use anyhow::Result;

use super::{Contender, Role, Running, sender::Sender};
use crate::{peer::Tuning, place::Place};

/// quinn alone.
pub(crate) struct Quic {
    /// How it is set up.
    pub(crate) tuning: Tuning,
}

impl Contender for Quic {
    fn name(&self) -> &'static str {
        match self.tuning {
            Tuning::Ours => "raw-quic",
            Tuning::Stock => "quinn-cubic",
        }
    }

    fn start(&self, place: &Place<'_>) -> Result<Running> {
        let tuning = match self.tuning {
            Tuning::Ours => "--tuning=ours",
            Tuning::Stock => "--tuning=stock",
        };
        let sending = place.far_peer("send-quic").with(format!("--ip={}", place.far_ip)).with(tuning);
        let sender = Sender::start(&sending)?;
        let (address, pin) = (sender.announcement.address, sender.announcement.pin);
        let reading = place
            .near_peer("read-quic")
            .with(format!("--from={address}"))
            .with(format!("--pin={pin}"))
            .with(tuning);
        let pid = sender.pid();
        Ok(Running::new(Role::Client, reading).counting(Role::Server, pid).keeping(sender))
    }
}
