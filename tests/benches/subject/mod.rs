//! The subjects that a bench compares, one type each: ways to transfer bytes from a source to a reader.
//! Must never share a process between two measurements, as one could learn from the other.

mod direct;
mod nginx;
mod ours;
mod quic;
mod running_subject;
mod sender;
mod tcp;

use anyhow::Result;

pub(crate) use direct::Direct;
pub(crate) use nginx::Nginx;
pub(crate) use ours::Ours;
pub(crate) use quic::Quic;
pub(crate) use running_subject::{Measurement, Role, RunningSubject, Transfer};
pub(crate) use tcp::Tcp;

use crate::topology::Topology;

/// A subject of a bench.
pub(crate) trait Subject {
    /// The name in tables and options.
    fn name(&self) -> &'static str;

    /// Starts its processes. Nothing is transferred before [`RunningSubject::start_transfer`].
    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject>;
}
