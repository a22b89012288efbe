//! What the page and `docxy-client status` show: one [`Snapshot`] of everything, which a running client makes.
//!
//! Made from `counters`, [`pulls`] and `recent_errors`, which only record. `publisher` makes it, and sends it to those who
//! watch; `read` gets it from a running client. Must never hold a secret, nor cost anything but a sample a second while
//! the page is closed.

pub(crate) mod counters;
mod engines;
mod publisher;
pub mod pulls;
mod read;
pub(crate) mod reason;
pub(crate) mod recent_errors;

pub(crate) use publisher::{EventStream, Publisher};
pub use read::NotRunning;
pub(crate) use read::read;

use crate::gateway::{ReportedLimit, ServerReport, TunnelState};
use crate::status::pulls::{Finished, PullReport};
pub use crate::status::reason::Cause;
pub use crate::status::recent_errors::{Advice, RecentError};
use docxy_host::blob_store::StoreCause;
pub use engines::{EngineCause, EngineReport};
use serde::{Deserialize, Serialize};

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of the client.
    pub version: String,
    /// Where engines reach it.
    pub address: String,
    /// The tunnel, over the server in use.
    pub line: TunnelState,
    /// Each server, in the order of the links.
    pub servers: Vec<ServerReport>,
    /// The bytes that arrived in each of the last seconds, oldest first: ten minutes of them.
    pub history: Vec<u64>,
    /// The running pulls, oldest first.
    pub pulls: Vec<PullReport>,
    /// The last pulls that have ended, latest first.
    pub finished: Vec<Finished>,
    /// The pull limits that registries reported last.
    pub quota: Vec<ReportedLimit>,
    /// What is kept on disk; `None` if nothing is to be kept.
    pub cache: Option<CacheReport>,
    /// The last errors, latest first.
    pub errors: Vec<RecentError>,
    /// The engines of this machine; `None` until they were looked for.
    pub engines: Option<Vec<EngineReport>>,
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheReport {
    /// The bytes that it takes.
    pub bytes: u64,
    /// The bytes that it may take.
    pub limit: u64,
    /// Why nothing is written now, if that is so.
    pub problem: Option<String>,
    /// The same as a value.
    pub cause: Option<StoreCause>,
}
