//! `bench trips`: the number of round trips that a pull takes, with real engines and the real client and server.
//! Must never count an engine's own work: a round trip is the extra time of a pull per extra round-trip time of the
//! link.

mod day;
pub(crate) mod engine;
mod linear_fit;
mod prefetch_usage;
mod pull;
mod results;
mod route;
mod scenario;
mod testbed;
mod update_checker;
mod workload;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;

use crate::{
    report::machine::Machine,
    report::output::{print, progress, write_json},
};
use engine::EngineKind;
use pull::Pull;
pub(crate) use results::Row;
use results::table;
use route::Route;
use scenario::Scenario;
use testbed::Testbed;

/// The round-trip times of the links.
const RTTS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
];

/// Each engine pulls new images over links with four round-trip times; the result is the slope of its time over
/// theirs.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these engines
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum, default_values_t = EngineKind::ALL)]
    engine: Vec<EngineKind>,
    /// Only these scenarios
    #[arg(long, alias = "case", value_name = "NAME", value_delimiter = ',', value_enum, default_values_t = Scenario::ALL)]
    scenario: Vec<Scenario>,
    /// Pulls of each engine in each scenario on each link; the fit uses their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Directly to the registry over the same links, without Docxy
    #[arg(long)]
    direct: bool,
    /// Links that are so many times slower: each holds as many bytes, and the work of a busy machine counts less
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    slower: u32,
    /// The disk space in which the client keeps layers, as for docxy-client; without it, that of the test run
    #[arg(long, value_name = "SIZE", conflicts_with = "direct")]
    cache_size: Option<String>,
    /// The leg of the tunnel: auto, quic or tcp
    #[arg(long, value_name = "LEG", conflicts_with = "direct")]
    leg: Option<String>,
    /// Instead: a scripted day of this many pulls, and what it costs in quota and in unused prefetched bytes
    #[arg(long, value_name = "PULLS", num_args = 0..=1, default_missing_value = "200")]
    day: Option<u32>,
    /// Seed of the day's random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write all measurements to a file, with all upstream requests in order
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All measurements, by engine and scenario, then by the link's round-trip time.
type Pulls = BTreeMap<(EngineKind, Scenario), BTreeMap<Duration, Vec<Pull>>>;

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(pulls) = options.day {
        return day::run(options, options.route(), pulls);
    }
    measure(options).map(drop)
}

/// Measures all that was asked for, and prints it.
pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let route = options.route();
    let machine = Machine::this();
    let started = Instant::now();
    // All testbeds run at the same time and take turns, so that a disturbance of the machine affects all of them.
    let mut testbeds = RTTS
        .iter()
        .map(|rtt| Testbed::new(*rtt * options.slower, options, route))
        .collect::<Result<Vec<_>>>()?;
    for testbed in &mut testbeds {
        progress(&format!("{:?}: warming up", testbed.rtt));
        testbed.warm_up(options.scenario.contains(&Scenario::FiveLayers))?;
    }
    let mut pulls = Pulls::new();
    for round in 1..=options.runs {
        for engine in &options.engine {
            for testbed in &mut testbeds {
                let rtt = testbed.rtt;
                run_turn(testbed, *engine, &options.scenario, |scenario, pull| {
                    progress(&format!("{round}/{} {engine} {scenario}, {rtt:?}: {pull}", options.runs));
                    pulls.entry((*engine, scenario)).or_default().entry(rtt).or_default().push(pull);
                })?;
            }
        }
    }
    let rows: Vec<Row> =
        pulls.into_iter().map(|((engine, scenario), links)| Row::new(engine, scenario, links)).collect();
    if let Some(path) = &options.json {
        write_json(path, "trips", &machine, &rows)?;
    }
    let (runs, seconds) = (options.runs, started.elapsed().as_secs());
    let slower = match options.slower {
        1 => String::new(),
        factor => {
            format!("; links {factor} times slower: {factor} times these times, and 1/{factor} of the rate")
        }
    };
    print(&format!(
        "pulls {route} over links of 50, 100, 200 and 300 ms, {runs} runs each, {seconds} s{slower}\n{machine}\n"
    ))?;
    print(&table(&rows))?;
    print(&LEGEND)?;
    Ok(rows)
}

impl Options {
    fn route(&self) -> Route {
        if self.direct { Route::Direct } else { Route::Tunnel }
    }
}

const LEGEND: &str = "\
round trips: the slope of pull time over the link's round-trip time, a least-squares fit of medians; intercept: the rest
residual: the largest distance of a median from the fit    upstream, manifest GETs: requests to the registry, its token
service and its CDN per pull, and those of them that count against the pull limit; median (lowest-highest)
cold, re-pull: one layer of 8 kB, multi-arch    five layers: 12 MiB at 100 Mbit/s, a transfer of 1.0 s, link rate known";

/// One engine's turn. Every image is new to all caches, except in the second pull of the same image.
fn run_turn(
    testbed: &mut Testbed,
    engine: EngineKind,
    scenarios: &[Scenario],
    mut measured: impl FnMut(Scenario, Pull),
) -> Result<()> {
    let is_selected = |scenario| scenarios.contains(&scenario);
    if is_selected(Scenario::Cold) || is_selected(Scenario::RePull) {
        let image = testbed.publish(Scenario::Cold)?;
        let cold = testbed.pull(engine, &image)?;
        if is_selected(Scenario::Cold) {
            measured(Scenario::Cold, cold);
        }
        if is_selected(Scenario::RePull) {
            measured(Scenario::RePull, testbed.pull(engine, &image)?);
        }
        testbed.remove(engine, &image)?;
    }
    if is_selected(Scenario::FiveLayers) {
        let image = testbed.publish(Scenario::FiveLayers)?;
        measured(Scenario::FiveLayers, testbed.pull(engine, &image)?);
        testbed.remove(engine, &image)?;
    }
    Ok(())
}
