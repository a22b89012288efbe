//! `bench figures`: what the choice of legs and servers must reach, in one table from one run.
//!
//! It runs the other benches with words that a user could type, and takes its numbers from their results. Must never
//! measure anything itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser};
use docxy_tests::statistics::{max, median};

use crate::{
    legs, local,
    report::{
        figure::{
            Figures,
            Wanted::{AtLeast, AtMost},
        },
        machine::Machine,
        output::{print, progress, write_json},
    },
    trips, wan,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Seeds of each link whose throughput is compared
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many times all else is measured; figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Write all figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Links whose loss is chance.
const LINKS: [&str; 3] = ["transpacific", "transpacific-1%", "transpacific-5%"];

/// Networks on which QUIC's handshake gets an answer that is none.
const REJECTING: [&str; 3] = ["rejected-quic-crypto-error", "rejected-quic-retry", "rejected-quic-versions"];

/// Networks on which something is up and carries nothing.
const DECEIVING: [&str; 5] =
    ["one-way-udp", "frozen-tcp", "dropped-serverhello", "reset-port", "black-holed-ipv6"];

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let mut figures = Figures::default();
    for part in [clean_and_lossy, policed, networks, blocked, servers, connections, round_trips, processor] {
        if let Err(error) = part(options, &mut figures) {
            progress(&format!("failed: {error:#}"));
        }
        if let Some(path) = &options.json {
            write_json(path, "figures", &machine, &figures)?;
        }
    }
    print(&format!("\n{machine}\n"))?;
    print(&figures)
}

/// The options of a bench, from what a user would type.
pub(crate) fn parse<T: Args>(words: &str) -> T {
    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Words<T: Args> {
        #[command(flatten)]
        options: T,
    }
    progress(words);
    Words::parse_from(words.split_whitespace()).options
}

fn clean_and_lossy(options: &Options, figures: &mut Figures) -> Result<()> {
    const SUBJECTS: &str = "ours,ours-quic,ours-tcp,tcp-bbr";
    let (links, seeds) = (LINKS.join(" "), options.seeds);
    let rows = wan::measure(&parse(&format!("{links} --only {SUBJECTS} --seeds {seeds} --seconds 16")))?;
    for link in LINKS {
        let rows = || rows.iter().filter(|row| row.link == link);
        let of = |subject, metric| median(wan::values(rows(), subject, metric));
        for (phase, metric, least) in [("cold", "%", 0.94), ("steady", "steady %", 0.97)] {
            let better = max(["ours-quic", "ours-tcp"].map(|leg| of(leg, metric)));
            let ratio = of("ours", metric) / better;
            figures.add(link, format!("{phase}, auto ÷ better leg"), AtLeast(0.97), [ratio]);
            let ratio = of("ours-tcp", metric) / of("tcp-bbr", metric);
            figures.add(link, format!("{phase}, TCP leg ÷ bare BBR"), AtLeast(least), [ratio]);
        }
        for leg in ["ours-quic", "ours-tcp"] {
            let small = wan::values(rows(), leg, "small");
            figures.add(link, format!("small request, {leg}, round trips"), AtMost(1.1), small);
        }
    }
    Ok(())
}

fn policed(options: &Options, figures: &mut Figures) -> Result<()> {
    let rows =
        wan::measure(&parse(&format!("--scenario policed --only ours,tcp-bbr --seeds {}", options.seeds)))?;
    let of = |subject, metric| wan::values(&rows, subject, metric);
    const CASE: &str = "policed-udp";
    figures.add(CASE, "90 % of the link after s", AtMost(10.0), of("ours", "90 % after s"));
    figures.add(CASE, "from then on, % of the link", AtLeast(90.0), of("ours", "then %"));
    let ratio = median(of("ours", "then %")) / median(of("tcp-bbr", "then %"));
    figures.add(CASE, "from then on, ÷ TCP BBR", AtLeast(0.95), [ratio]);
    Ok(())
}

fn networks(options: &Options, figures: &mut Figures) -> Result<()> {
    let rows = legs::measure(&parse(&format!("--case networks --runs {}", options.runs)))?;
    let of = |network: &'static str| rows.iter().filter(move |row| row.name == network);
    let column = |network, column| of(network).filter_map(move |row| row.value(column));
    figures.add(
        "blocked-udp",
        "first byte of a manifest s",
        AtMost(1.5),
        column("blocked-udp", "manifest s"),
    );
    figures.add("blocked-udp", "the same, second start s", AtMost(0.9), column("blocked-udp", "again s"));
    for network in REJECTING {
        figures.add(network, "first byte of a manifest s", AtMost(1.5), column(network, "manifest s"));
    }
    for network in DECEIVING {
        let failed = of(network).filter(|row| row.failed.is_some()).count();
        figures.add(network, "pulls that failed", AtMost(0.0), [failed as f64]);
    }
    Ok(())
}

fn blocked(options: &Options, figures: &mut Figures) -> Result<()> {
    const CASE: &str = "UDP blocked in mid-pull";
    let rows = legs::measure(&parse(&format!("--case blocked --runs {}", options.runs)))?;
    let column = |column| rows.iter().filter_map(move |row| row.value(column));
    figures.add(CASE, "silence s", AtMost(3.0), column("silence s"));
    figures.add(CASE, "twice MiB", AtMost(1.0), column("extra MiB"));
    let rows = legs::measure(&parse("--case returns --runs 1"))?;
    let returned = rows.iter().filter_map(|row| row.value("QUIC again after s"));
    figures.add(CASE, "QUIC is back after s", AtMost(600.0), returned);
    Ok(())
}

fn servers(options: &Options, figures: &mut Figures) -> Result<()> {
    let rows = legs::measure(&parse(&format!("--case servers --runs {}", options.runs)))?;
    let of = |name: &'static str, column| {
        rows.iter().filter(move |row| row.name == name).filter_map(move |row| row.value(column))
    };
    let failed = rows.iter().filter(|row| row.failed.is_some()).count();
    figures.add("two servers", "pulls that failed", AtMost(0.0), [failed as f64]);
    figures.add("two servers, one killed", "silence s", AtMost(3.0), of("one of two killed", "silence s"));
    // Bodies are spread, so an image needs more than one.
    let rows = wan::measure(&parse(&format!("--scenario two-servers --only ours --seeds {}", options.runs)))?;
    let ratios = wan::values(&rows, "ours", "both ÷ one");
    figures.add("two servers of 50 Mbit/s, four bodies", "÷ one", AtLeast(1.7), ratios);
    Ok(())
}

fn connections(options: &Options, figures: &mut Figures) -> Result<()> {
    let rows = legs::measure(&parse(&format!("--case connections --leg tcp --runs {}", options.runs)))?;
    let most = max(rows.iter().filter_map(|row| row.value("most TCP connections")));
    figures.add("run, pull, doctor, a lost session", "TCP connections at any moment", AtMost(6.0), [most]);
    Ok(())
}

fn round_trips(options: &Options, figures: &mut Figures) -> Result<()> {
    const WHAT: &str = "--engine docker,containerd --scenario cold,re-pull --leg tcp";
    for row in trips::measure(&parse(&format!("{WHAT} --runs {}", options.runs)))? {
        let most = if row.name().ends_with("cold") { 1.2 } else { 1.1 };
        figures.add(row.name(), "round trips, TCP leg warm", AtMost(most), [row.round_trips]);
    }
    Ok(())
}

fn processor(options: &Options, figures: &mut Figures) -> Result<()> {
    let measured = local::measure(&parse(&format!("--only ours-quic,ours-tcp --runs {}", options.seeds)))?;
    let ratio = measured.cpu_of_both("ours-tcp") / measured.cpu_of_both("ours-quic");
    figures.add("loopback", "processor time of both ends, TCP ÷ QUIC", AtMost(1.0), [ratio]);
    Ok(())
}
