//! One pull: its duration, and the upstream requests that it caused.
//! Must never know the link's round-trip time.

use std::fmt::{self, Display};

use hub_stand_in::{LoggedRequest, Site};
use serde::Serialize;

/// The measurement of a pull.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pull {
    /// Seconds from the engine's start to its end.
    pub(super) seconds: f64,
    /// The requests to the registry, its token service and its CDN, in order, until no more followed the pull.
    pub(super) upstream: Vec<String>,
    /// The number of them that count against the pull limit.
    pub(super) manifest_gets: usize,
}

impl Pull {
    /// From the stand-in's log of requests during the pull.
    pub(super) fn new(seconds: f64, requests: &[LoggedRequest]) -> Self {
        Self {
            seconds,
            upstream: requests.iter().map(describe).collect(),
            manifest_gets: requests.iter().filter(|entry| costs_quota(entry)).count(),
        }
    }
}

impl Display for Pull {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, gets) = (self.upstream.len(), self.manifest_gets);
        write!(out, "{:.3} s, {requests} upstream, {gets} manifest GETs", self.seconds)
    }
}

fn describe(entry: &LoggedRequest) -> String {
    let host = match entry.site {
        Site::Registry => "registry",
        Site::Auth => "auth",
        Site::Cdn => "cdn",
    };
    let status = entry.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!("{host} {} {status}", entry.line())
}

/// A GET counts even if it finds nothing; a HEAD is free.
fn costs_quota(entry: &LoggedRequest) -> bool {
    entry.site == Site::Registry && entry.method == "GET" && entry.path.contains("/manifests/")
}
