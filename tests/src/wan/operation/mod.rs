//! How a link is described, changed and reported. Must never move a packet.

pub mod control;
pub(in crate::wan) mod counters;
pub(in crate::wan) mod lateness_histogram;
pub(in crate::wan) mod options;
pub(in crate::wan) mod report;
pub(in crate::wan) mod syntax;
