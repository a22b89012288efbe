//! `scripts/bench`: what Docxy is worth, measured beside what one could use instead.
//! Must never judge: it measures and prints, and people (or `jq`) decide.

mod bulk_source;
mod engines;
mod load;
mod local;
mod machine;
mod output;
mod peer;
mod reader_report;
mod subject;
mod topology;
mod trips;
mod usage;
mod wan;

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Docxy beside what one could use instead, in interleaved runs on this machine.
#[derive(Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bench local                                 all subjects, 5 runs each, on loopback
  bench local --runs 9 --json local.json      the same for a machine to read
  bench engines                               skopeo through the tunnel and without it
  bench load                                  200 pulls, 2,000 streams, 500 clients, two restarts
  bench trips --engine docker --case cold     round trips of a cold docker pull
  bench wan                                   the issue's ladder of links, one seed
  bench wan transpacific-5% --seeds 5         median and worst of five seeds
  bench wan transpacific --only ours,tcp-bbr  two subjects alone
  bench wan --scenario outage,idle            how a link's changes are borne

Only ratios within one run mean anything: whatever else the machine does slows all subjects alike.";

#[derive(Subcommand)]
enum Command {
    /// Our pull on loopback, beside a raw QUIC stream, TLS over TCP, nginx, and no tunnel at all
    Local(local::Options),
    /// A whole image pulled by skopeo, through the tunnel and without it (needs root)
    Engines(engines::Options),
    /// Many pulls, clients and streams at once, what they cost, and what is left of them
    Load(load::Options),
    /// Round trips of a pull by docker, containerd, podman and skopeo (needs root)
    Trips(trips::Options),
    /// Our pull over bad links, beside TCP and plain QUIC over the same (needs root)
    Wan(wan::Options),
    /// One end of a transfer, as the benches start it
    #[command(subcommand, hide = true)]
    Peer(peer::Peer),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If not even stderr takes it, the exit code has to do.
            let _ = writeln!(stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Local(options) => local::run(&options),
        Command::Engines(options) => engines::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Trips(options) => trips::run(&options),
        Command::Wan(options) => wan::run(&options),
        Command::Peer(peer) => peer::run(peer),
    }
}
