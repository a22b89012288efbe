//! The other end of an engine's connection: this machine, or one in a network that the user allowed.
//!
//! Must never admit another machine that is in none of these networks.

use crate::settings::Networks;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use parking_lot::RwLock;
use std::net::IpAddr;
use std::sync::Arc;

/// The networks whose machines may use this client. Can be replaced while it runs.
pub type AllowedNetworks = Arc<RwLock<Networks>>;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::frontend) struct Peer {
    /// The address of the engine.
    pub(in crate::frontend) address: IpAddr,
    /// The address of this machine that it reached.
    pub(in crate::frontend) reached: IpAddr,
}

impl Peer {
    /// Whether it is another machine.
    pub(in crate::frontend) fn is_remote(self) -> bool {
        let address = self.address.to_canonical();
        // A connection to an own address comes from that address.
        !address.is_loopback() && address != self.reached.to_canonical()
    }

    /// # Errors
    /// If it is another machine that is in none of these networks.
    pub(in crate::frontend) fn check(self, allowed: &Networks) -> Result<(), Fault> {
        if !self.is_remote() || allowed.contain(self.address) {
            return Ok(());
        }
        let detail = format!(
            "{} is in none of the networks that this docxy-client serves; if it should be, add it to allow_remote",
            self.address.to_canonical()
        );
        Err(Fault::new(Hop::Engine, FaultKind::PeerNotServed, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_of_allowed_networks_are_served() {
        for (address, reached, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("::1", "::1", true),
            ("192.168.1.2", "192.168.1.2", true),
            ("192.168.1.9", "192.168.1.2", true),
            ("::ffff:192.168.1.9", "::ffff:192.168.1.2", true),
            ("192.168.2.9", "192.168.1.2", false),
            ("2001:db8::9", "2001:db8::2", false),
        ] {
            let peer = Peer { address: address.parse().unwrap(), reached: reached.parse().unwrap() };
            let checked = peer.check(&"192.168.1.8/29".parse().unwrap());
            assert_eq!(checked.is_ok(), expected, "{address}");
            assert!(checked.is_ok_and(|()| true) || peer.is_remote());
        }
    }
}
