//! The ways for bytes from a source to a reader that are compared, one type each.
//! Must never share a process between two measurements: what one learnt must not help the next.

mod nginx;
mod ours;
mod quic;
mod running;
mod sender;
mod straight;
mod tcp;

use anyhow::Result;

pub(crate) use nginx::Nginx;
pub(crate) use ours::Ours;
pub(crate) use quic::Quic;
pub(crate) use running::{Measured, Role, Running};
pub(crate) use straight::Straight;
pub(crate) use tcp::Tcp;

use crate::place::Place;

/// Something that carries bytes.
pub(crate) trait Contender {
    /// What it is called in tables and options.
    fn name(&self) -> &'static str;

    /// Starts its processes. Nothing is transferred before [`Running::begin`].
    fn start(&self, place: &Place<'_>) -> Result<Running>;
}
