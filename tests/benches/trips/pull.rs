//! One pull: how long it took, and what it had the server ask of the registry.
//! Must never know how long the link was.

use std::fmt::{self, Display};

use docxy_tests::hub::{LoggedRequest, Site};
use serde::Serialize;

/// A pull, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pull {
    /// From the engine's start to its end.
    pub(super) seconds: f64,
    /// What the registry, its token service and its CDN were asked, in order: until all was quiet after the pull.
    pub(super) upstream: Vec<String>,
    /// Those of them that cost quota.
    pub(super) manifest_gets: usize,
}

impl Pull {
    /// From the stand-in's requests of the time.
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

/// A GET counts also where it finds nothing; a HEAD never does.
fn costs_quota(entry: &LoggedRequest) -> bool {
    entry.site == Site::Registry && entry.method == "GET" && entry.path.contains("/manifests/")
}
