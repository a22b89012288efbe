//! What the tunnel needs to know. Knows nothing of files, flags and variables.

use docxy_protocol::congestion::Choice;
use docxy_protocol::link::Link;
use std::fmt;
use std::path::PathBuf;

/// The servers, and how to send to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// One link for each server; at least one.
    pub links: Vec<Link>,
    /// How both ends send.
    pub congestion: Congestion,
    /// The directory for what outlives the process; `None` remembers it in memory.
    pub cache: Option<PathBuf>,
}

/// The congestion control of both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Congestion {
    /// How the server sends to this client.
    pub down: Choice,
    /// How this client sends to the server.
    pub up: Choice,
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.down, self.up) {
            (Choice::Fixed(down), Choice::Fixed(up)) => write!(f, "down={down},up={up}"),
            (Choice::Fixed(down), _) => write!(f, "down={down}"),
            (_, Choice::Fixed(up)) => write!(f, "up={up}"),
            (Choice::Cubic, _) => f.write_str("cubic"),
            (Choice::Auto, _) => f.write_str("auto"),
        }
    }
}
