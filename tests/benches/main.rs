//! `scripts/bench`: measures Docxy beside the alternatives.
//! Must never judge by its exit code: it measures and prints.

mod engines;
mod figures;
mod layers;
mod legs;
mod load;
mod local;
mod page;
mod report;
mod subject;
mod testbed;
mod trips;
mod wan;

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use testbed::{bulk_source, peer, topology};

/// Measures Docxy beside the alternatives, in interleaved runs on this machine.
#[derive(Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bench local                                 all subjects, 5 runs each, on loopback
  bench local --runs 9 --json local.json      the same, as JSON too
  bench engines                               skopeo through the tunnel and directly
  bench layers                                what crosses of a layer that is kept
  bench load                                  200 pulls, 2,000 streams, 500 clients, two restarts
  bench page                                  what an open page costs beside 200 pulls
  bench trips --engine docker --scenario cold round trips of a cold docker pull
  bench wan                                   the default links, one seed
  bench wan transpacific-5% --seeds 5         median and range of five seeds
  bench wan transpacific --only ours,tcp-bbr  two subjects only
  bench wan --scenario outage,idle            changes of the link during a transfer
  bench wan --only ours-tcp,tcp-bbr           the TCP leg alone, beside bare TCP
  bench legs --case networks,servers          which leg and server carries a pull, and how soon
  bench figures                               one table of what legs and servers must reach

Compare only figures of one run: other load on the machine slows all subjects alike.";

#[derive(Subcommand)]
enum Command {
    /// Our pull on loopback, beside a raw QUIC stream, TLS over TCP, nginx, and no tunnel
    Local(local::Options),
    /// A complete image pulled by skopeo, through the tunnel and directly (needs root)
    Engines(engines::Options),
    /// What crosses of a layer that is kept on the disk, and what keeping it costs
    Layers(layers::Options),
    /// Many pulls, clients and streams at once: what they cost, and what remains in use afterwards
    Load(load::Options),
    /// What an open page costs the client while many pulls run
    Page(page::Options),
    /// Round trips of a pull by docker, containerd, podman and skopeo (needs root)
    Trips(trips::Options),
    /// Our pull over emulated links, beside TCP and plain QUIC over the same links (needs root)
    Wan(wan::Options),
    /// How our client finds a leg and a server on networks of every kind (needs root)
    Legs(legs::Options),
    /// What the choice of legs and servers must reach: measures all of it, and prints one table (needs root)
    Figures(figures::Options),
    /// One end of a transfer, as the benches start it
    #[command(subcommand, hide = true)]
    Peer(peer::Peer),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed too, the exit code alone reports the error.
            let _ = writeln!(stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Local(options) => local::run(&options),
        Command::Engines(options) => engines::run(&options),
        Command::Layers(options) => layers::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Page(options) => page::run(&options),
        Command::Trips(options) => trips::run(&options),
        Command::Wan(options) => wan::run(&options),
        Command::Legs(options) => legs::run(&options),
        Command::Figures(options) => figures::run(&options),
        Command::Peer(peer) => peer::run(peer),
    }
}
