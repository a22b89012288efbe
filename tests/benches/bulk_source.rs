//! The source of what is pulled: Docker Hub's stand-in, and where the bulk lies in it.
//! Must never run where one who is measured through the tunnel could reach it otherwise, but on loopback.

use anyhow::Result;
use docxy_tests::{hub::Listen, net::Namespace, stand_in::StandIn};

/// Where the bulk lies.
pub(crate) const REPOSITORY: &str = "bench/bulk";

/// Starts one that holds what `content` says in the words of the `hub` program.
pub(crate) fn start(namespace: Option<&Namespace>, listen: Listen, content: &[&str]) -> Result<StandIn> {
    // A bench pulls more often than Docker Hub would let it.
    let patient = ["--anonymous-pulls", "1000000", "--token-lifetime", "86400"];
    StandIn::start(namespace, listen, &[&patient[..], content].concat())
}
