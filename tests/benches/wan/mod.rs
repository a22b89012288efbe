//! `bench wan`: our full pull over emulated links, beside TCP and plain QUIC over the same links.
//! Must never let two subjects share a link's state: each gets a new link with the same random seed.

mod bodies;
mod metric;
mod results;
mod scenario;
mod scenarios;
mod testbed;
mod two_servers;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use docxy_tests::wan::{LinkPreset, presets};

use crate::{
    peer::Tuning,
    report::machine::Machine,
    report::output::{print, progress, write_json},
    subject::{Ours, Quic, Subject, Tcp},
};
use results::{Outcome, table};
pub(crate) use results::{Row, values};
use scenario::Scenario;
use testbed::Testbed;

/// The links of the project's figures.
const DEFAULT_LINKS: [LinkPreset; 8] = [
    presets::TRANSPACIFIC,
    presets::TRANSPACIFIC_1,
    presets::TRANSPACIFIC_5,
    presets::TRANSPACIFIC_10,
    presets::TRANSPACIFIC_15,
    presets::BURSTY_MOBILE,
    presets::FAT_TRANSPACIFIC_5,
    presets::FAT_METRO,
];

/// Every subject transfers over every link, with the same seeds.
#[derive(Args)]
#[command(after_help = scenarios::help())]
pub(crate) struct Options {
    /// Names of links, as in `wan list`; by default those of the scenario
    #[arg(value_name = "LINK", value_parser = link_preset)]
    links: Vec<LinkPreset>,
    /// What happens on the link
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "plain", value_parser = scenarios::find)]
    scenario: Vec<&'static Scenario>,
    /// How many seeds; metrics are medians over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Duration of a transfer
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    /// Only these subjects: ours, tcp-bbr, tcp-cubic, quinn-cubic; or ours-quic and ours-tcp (one leg alone), ours-fixed
    /// (95 % of the rate stated) and raw-quic, which do not run by default
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "ours,tcp-bbr,tcp-cubic,quinn-cubic"
    )]
    only: Vec<String>,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    measure(options)?;
    print(&LEGEND)
}

/// Measures all that was asked for, and prints it.
pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let machine = Machine::this();
    let subjects = select_subjects(&options.only)?;
    let testbed = Testbed::new(options.fastest(), options.seconds)?;
    print(&machine)?;
    let mut rows = Vec::new();
    for scenario in &options.scenario {
        for link in options.links_of(scenario) {
            let measured = measure_link(options, &testbed, scenario, link, &subjects);
            print(&format!("\n{}, {}: {}\n{}\n", link.name, scenario.name, scenario.description, link.link))?;
            print(&table(&measured))?;
            rows.extend(measured);
            if let Some(path) = &options.json {
                write_json(path, "wan", &machine, &rows)?;
            }
        }
    }
    Ok(rows)
}

const LEGEND: &str = "\
Mbit/s and %: payload in order at the reader; % of the link's rate, which counts IP packets (96 is the maximum)
cold: the first 12 s from the request, on a connection that has carried no bulk; steady: after 4 s
lost: share of sent bytes that the link dropped    small: small requests beside the bulk, in round trips, median and p90
CPU: processor seconds per GB of payload           RSS: peak, MiB           several seeds: median (lowest-highest)";

/// Measures all subjects on one link, seed by seed, so that a disturbance of the machine affects all of them.
fn measure_link(
    options: &Options,
    testbed: &Testbed,
    scenario: &'static Scenario,
    link: &LinkPreset,
    subjects: &[Box<dyn Subject>],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for seed in (options.seed..).take(usize::try_from(options.seeds).unwrap_or(usize::MAX)) {
        for subject in subjects {
            progress(&format!("{} {} seed {seed}: {}", link.name, scenario.name, subject.name()));
            // A failure is a result, too.
            let outcome = testbed.run(scenario, link, seed, &**subject, options.seconds);
            let outcome = outcome.unwrap_or_else(|error| Outcome::failed(&error));
            rows.push(Row {
                scenario: scenario.name,
                link: link.name,
                seed,
                subject: subject.name(),
                outcome,
            });
        }
    }
    rows
}

impl Options {
    fn links_of(&self, scenario: &Scenario) -> Vec<&LinkPreset> {
        if self.links.is_empty() { scenario.links.iter().collect() } else { self.links.iter().collect() }
    }

    /// The highest rate that any of the links has in a scenario, in bits per second.
    fn fastest(&self) -> u64 {
        /// No scenario raises a link's rate by more.
        const RATE_FACTOR_MAX: u64 = 2;
        let links = self.scenario.iter().flat_map(|scenario| self.links_of(scenario));
        let rates = links.filter_map(|link| link.link.right_to_left.rate);
        RATE_FACTOR_MAX * rates.map(|rate| rate.bits_per_second()).max().unwrap_or(1_000_000_000)
    }
}

fn select_subjects(only: &[String]) -> Result<Vec<Box<dyn Subject>>> {
    let mut all: Vec<Box<dyn Subject>> = vec![
        Box::new(Ours::Auto),
        Box::new(Ours::Quic),
        Box::new(Ours::Tcp),
        Box::new(Ours::Fixed),
        Box::new(Tcp::BBR),
        Box::new(Tcp::CUBIC),
        Box::new(Quic { tuning: Tuning::Stock }),
        Box::new(Quic { tuning: Tuning::Ours }),
    ];
    for name in only {
        ensure!(all.iter().any(|subject| subject.name() == name), "no subject {name:?}; see --help");
    }
    all.retain(|subject| only.iter().any(|name| name == subject.name()));
    Ok(all)
}

fn link_preset(name: &str) -> Result<LinkPreset> {
    LinkPreset::find(name).copied().with_context(|| "no such link; `wan list` shows them".to_owned())
}

/// The cold phase lasts 12 s, and some time must remain for the steady phase.
fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    ensure!((15.0..=600.0).contains(&seconds), "between 15 and 600");
    Ok(seconds)
}
