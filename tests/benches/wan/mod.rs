//! `bench wan`: our whole pull over bad links, beside TCP and plain QUIC over the same links.
//! Must never let two contenders share a link's history: each gets a new link with the same dice.

mod figure;
mod result;
mod scenario;
mod scenarios;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use docxy_tests::wan::{NamedLink, ladder};

use crate::{
    contender::{Contender, Ours, Quic, Tcp},
    machine::Machine,
    peer::Tuning,
    report::{print, progress, write_json},
};
use result::{Outcome, Row, table};
use scenario::Scenario;
use world::World;

/// The links that the project's figures are about.
const LINKS: [NamedLink; 8] = [
    ladder::TRANSPACIFIC,
    ladder::TRANSPACIFIC_1,
    ladder::TRANSPACIFIC_5,
    ladder::TRANSPACIFIC_10,
    ladder::TRANSPACIFIC_15,
    ladder::BURSTY_MOBILE,
    ladder::FAT_TRANSPACIFIC_5,
    ladder::FAT_METRO,
];

/// Each contender has its turn on each link, with the same seeds.
#[derive(Args)]
#[command(after_help = scenarios::help())]
pub(crate) struct Options {
    /// Names of links, as `wan list` has them; those of the scenario if none is given
    #[arg(value_name = "LINK", value_parser = named_link)]
    links: Vec<NamedLink>,
    /// What happens on the link
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "plain", value_parser = scenarios::find)]
    scenario: Vec<&'static Scenario>,
    /// How many seeds; figures are medians over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How long a transfer lasts
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    /// Only these contenders: ours, tcp-bbr, tcp-cubic, quinn-cubic; or ours-fixed (told 95 % of the rate) and
    /// raw-quic, which are not run by default
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "ours,tcp-bbr,tcp-cubic,quinn-cubic"
    )]
    only: Vec<String>,
    /// Write all that was measured to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let contenders = chosen(&options.only)?;
    let world = World::new(options.fastest(), options.seconds)?;
    print(&machine)?;
    let mut rows = Vec::new();
    for scenario in &options.scenario {
        for link in options.links_of(scenario) {
            let measured = measure(options, &world, scenario, link, &contenders);
            print(&format!("\n{}, {}: {}\n{}\n", link.name, scenario.name, scenario.story, link.link))?;
            print(&table(&measured))?;
            rows.extend(measured);
            if let Some(path) = &options.json {
                write_json(path, "wan", &machine, &rows)?;
            }
        }
    }
    print(&LEGEND)
}

const LEGEND: &str = "\
Mbit/s and %: payload in order at the reader; % of the link's rate, which counts IP and lower headers (96 is the ceiling)
cold: the first 12 s from the request, on a connection that has carried no bulk; steady: after 4 s
lost: share of sent bytes that the link dropped    small: a small request meanwhile, in round trips, median and p90
CPU: processor seconds a GB that arrived           RSS: peak, MiB           of several seeds: median (lowest-highest)";

/// All contenders on one link, seed by seed, so that what disturbs the machine for a while disturbs them all.
fn measure(
    options: &Options,
    world: &World,
    scenario: &'static Scenario,
    link: &NamedLink,
    contenders: &[Box<dyn Contender>],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for seed in (options.seed..).take(usize::try_from(options.seeds).unwrap_or(usize::MAX)) {
        for contender in contenders {
            progress(&format!("{} {} seed {seed}: {}", link.name, scenario.name, contender.name()));
            // One that can't do it at all is a result, too.
            let outcome = world.play(scenario, link, seed, &**contender, options.seconds);
            let outcome = outcome.unwrap_or_else(|error| Outcome::failed(&error));
            rows.push(Row {
                scenario: scenario.name,
                link: link.name,
                seed,
                contender: contender.name(),
                outcome,
            });
        }
    }
    rows
}

impl Options {
    fn links_of(&self, scenario: &Scenario) -> Vec<&NamedLink> {
        if self.links.is_empty() { scenario.links.iter().collect() } else { self.links.iter().collect() }
    }

    /// The highest rate that any of the links ever has, in bits per second.
    fn fastest(&self) -> u64 {
        /// No scenario raises a link's rate further.
        const DOUBLED: u64 = 2;
        let links = self.scenario.iter().flat_map(|scenario| self.links_of(scenario));
        let rates = links.filter_map(|link| link.link.right_to_left.rate);
        DOUBLED * rates.map(|rate| rate.bits_per_second()).max().unwrap_or(1_000_000_000)
    }
}

fn chosen(only: &[String]) -> Result<Vec<Box<dyn Contender>>> {
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(Ours::Auto),
        Box::new(Ours::Fixed),
        Box::new(Tcp::BBR),
        Box::new(Tcp::CUBIC),
        Box::new(Quic { tuning: Tuning::Stock }),
        Box::new(Quic { tuning: Tuning::Ours }),
    ];
    for name in only {
        ensure!(all.iter().any(|contender| contender.name() == name), "no contender {name:?}; see --help");
    }
    all.retain(|contender| only.iter().any(|name| name == contender.name()));
    Ok(all)
}

fn named_link(name: &str) -> Result<NamedLink> {
    NamedLink::find(name).copied().with_context(|| "no such link; `wan list` shows them".to_owned())
}

/// A cold transfer is one of 12 seconds, and something must be left for the steady part.
fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    ensure!((15.0..=600.0).contains(&seconds), "between 15 and 600");
    Ok(seconds)
}
