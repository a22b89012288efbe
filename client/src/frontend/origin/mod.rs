//! Where a request comes from, and to which host: any web page can make a browser send requests to localhost.
//!
//! Must never let a request through whose `Host` is not the client's, or that a foreign page caused.

mod host_header;
mod same_origin;

pub(super) use host_header::LocalHost;
pub(super) use same_origin::refuse_foreign_pages;

use parking_lot::RwLock;
use std::sync::Arc;

/// The host names that engines may use, beside those of loopback. Can be replaced while the client runs.
pub type AllowedHosts = Arc<RwLock<Vec<String>>>;
