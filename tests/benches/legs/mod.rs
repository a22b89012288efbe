//! `bench legs`: how soon, and by which leg and server, the product carries a pull on networks of every kind.
//! Must never look into the product: what an engine and the link see is measured.

mod blocked;
mod connections;
mod networks;
mod row;
mod servers;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use docxy_tests::{docxy::Launch, tunnel_lab::TunnelLab, wan::LinkPreset};

use crate::report::{
    machine::Machine,
    output::{print, progress, write_json},
};
pub(crate) use row::Row;
use row::table;

/// One question about the product's choice of legs and servers.
struct Case {
    name: &'static str,
    description: &'static str,
    run: fn(&Run<'_>) -> Result<Vec<Row>>,
}

const CASES: &[Case] = &[
    Case {
        name: "networks",
        description: "from the start of the client: the first byte of a manifest; then a pull; the same again",
        run: networks::run,
    },
    Case {
        name: "blocked",
        description: "UDP is blocked in the middle of a pull and opened again 10 s later",
        run: blocked::run,
    },
    Case {
        name: "returns",
        description: "the same, and how long until QUIC is used again; up to eleven minutes (only if named)",
        run: blocked::run_until_return,
    },
    Case {
        name: "servers",
        description: "two servers, each behind 50 Mbit/s: one alone, both, and one that dies in the middle of a pull",
        run: servers::run,
    },
    Case {
        name: "connections",
        description: "TCP connections to one server at any moment: run, pull and doctor at once, and a lost session",
        run: connections::run,
    },
];

/// What a case's run gets.
struct Run<'a> {
    lab: &'a TunnelLab,
    seed: u64,
    /// The networks that were named; empty is all.
    networks: &'a [LinkPreset],
    /// Settings of the client.
    client: &'a [&'a str],
}

/// The case that takes minutes.
const LONG: &str = "returns";

/// Size of the blob: at 100 Mbit/s a pull takes 8 s.
const BLOB_MIB: u64 = 96;

/// Each case starts servers and clients of its own.
#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Options {
    /// Only these cases
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = find)]
    case: Vec<&'static str>,
    /// Only these networks of the case of that name, as in `wan list`. UDP is blocked on the first of them
    #[arg(long, value_name = "LINK", value_delimiter = ',', value_parser = network)]
    network: Vec<LinkPreset>,
    /// Only this leg: quic or tcp
    #[arg(long, value_name = "LEG")]
    leg: Option<String>,
    /// How many times each is measured; figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    measure(options).map(drop)
}

/// Measures all that was asked for, and prints it.
pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let machine = Machine::this();
    let lab = TunnelLab::new(BLOB_MIB)?;
    let leg = options.leg.as_ref().map(|leg| format!("--leg={leg}"));
    let client: Vec<&str> = leg.iter().map(String::as_str).collect();
    print(&machine)?;
    let mut all = Vec::new();
    for case in CASES.iter().filter(|case| options.selects(case.name)) {
        let mut rows = Vec::new();
        for seed in 1..=options.runs {
            progress(&format!("{}, run {seed} of {}", case.name, options.runs));
            let run = Run { lab: &lab, seed, networks: &options.network, client: &client };
            rows.extend((case.run)(&run)?);
        }
        print(&format!("\n{}: {}\n", case.name, case.description))?;
        print(&table(&rows))?;
        all.extend(rows);
        if let Some(path) = &options.json {
            write_json(path, "legs", &machine, &all)?;
        }
    }
    Ok(all)
}

impl Options {
    fn selects(&self, name: &str) -> bool {
        if self.case.is_empty() { name != LONG } else { self.case.contains(&name) }
    }
}

impl Run<'_> {
    /// How clients start.
    fn launch(&self) -> Launch {
        Launch::with(self.client)
    }
}

fn network(name: &str) -> Result<LinkPreset> {
    LinkPreset::find(name).copied().with_context(|| "no such link; `wan list` shows them".to_owned())
}

fn find(name: &str) -> Result<&'static str> {
    let found = CASES.iter().find(|case| case.name == name);
    found.map(|case| case.name).with_context(|| format!("no case {name:?}; see --help"))
}

fn help() -> String {
    let line = |case: &Case| format!("  {:12} {}\n", case.name, case.description);
    format!("Cases:\n{}", CASES.iter().map(line).collect::<String>())
}
