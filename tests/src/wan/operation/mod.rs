//! How a user describes and changes a link. Must never move a packet.

pub mod control;
pub(in crate::wan) mod options;
pub(in crate::wan) mod syntax;
