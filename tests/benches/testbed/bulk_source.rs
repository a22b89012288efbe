//! The source of the bulk data: a Docker Hub stand-in, and the repository of the large blob.
//! Must never run where a tunnel's client side can reach it directly, except on loopback.

use anyhow::Result;
use docxy_tests::{net::Namespace, stand_in::StandIn};
use hub_stand_in::Listen;

/// The repository of the large blob.
pub(crate) const REPOSITORY: &str = "bench/bulk";

/// Starts a stand-in; `content` are further command-line arguments of the `hub` program.
pub(crate) fn start(namespace: Option<&Namespace>, listen: Listen, content: &[&str]) -> Result<StandIn> {
    // A bench pulls more often than Docker Hub allows.
    let patient = ["--anonymous-pulls", "1000000", "--token-lifetime", "86400"];
    StandIn::start(namespace, listen, &[&patient[..], content].concat())
}
