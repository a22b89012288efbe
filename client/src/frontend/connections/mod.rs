//! The connections of engines: where they are accepted, whose they are, and how many there are.

mod listen;
mod peer;
mod slots;

pub use listen::ListenError;
pub(super) use listen::bind;
pub use peer::AllowedNetworks;
pub(super) use peer::Peer;
pub(super) use slots::{BusyGuard, ConnectionSlot, ConnectionSlots};
