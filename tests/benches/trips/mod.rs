//! `bench trips`: how many round trips a pull takes, by real engines through the real client and server.
//! Must never count an engine's own work as one: a round trip is what a pull gains when the link gets longer.

mod case;
mod checker;
mod day;
mod gain;
mod line;
mod plan;
mod pull;
mod puller;
mod result;
mod way;
mod world;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;

use crate::{
    machine::Machine,
    report::{print, progress, write_json},
};
use case::Case;
use pull::Pull;
use puller::EngineKind;
use result::{Row, table};
use way::Way;
use world::World;

/// The links, by their round trip times.
const RTTS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
];

/// Each engine pulls new images over links of four lengths; what is printed is the slope of its time over theirs.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these engines
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum, default_values_t = EngineKind::ALL)]
    engine: Vec<EngineKind>,
    /// Only these cases
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum, default_values_t = Case::ALL)]
    case: Vec<Case>,
    /// Pulls of each engine in each case on each link; medians of them make the slope
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Straight to the registry over the same links, without Docxy
    #[arg(long)]
    direct: bool,
    /// Instead: a scripted day of so many pulls, and what it costs in quota and in bytes that nobody asked for
    #[arg(long, value_name = "PULLS", num_args = 0..=1, default_missing_value = "200")]
    day: Option<u32>,
    /// What the day's dice are seeded with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write all that was measured to a file, upstream requests in their order included
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured so far, by engine and case, then by the link's round trip time.
type Pulls = BTreeMap<(EngineKind, Case), BTreeMap<Duration, Vec<Pull>>>;

pub(crate) fn run(options: &Options) -> Result<()> {
    let way = if options.direct { Way::Direct } else { Way::Tunnel };
    if let Some(pulls) = options.day {
        return day::run(options, way, pulls);
    }
    let machine = Machine::this();
    let started = Instant::now();
    // All at once, for turns on all of them in a row: what disturbs the machine for a while disturbs them all.
    let mut worlds =
        RTTS.iter().map(|rtt| World::new(*rtt, &options.engine, way)).collect::<Result<Vec<_>>>()?;
    for world in &mut worlds {
        progress(&format!("{:?}: warming up", world.rtt));
        world.warm_up(options.case.contains(&Case::FiveLayers))?;
    }
    let mut pulls = Pulls::new();
    for round in 1..=options.runs {
        for engine in &options.engine {
            for world in &mut worlds {
                let rtt = world.rtt;
                play(world, *engine, &options.case, |case, pull| {
                    progress(&format!("{round}/{} {engine} {case}, {rtt:?}: {pull}", options.runs));
                    pulls.entry((*engine, case)).or_default().entry(rtt).or_default().push(pull);
                })?;
            }
        }
    }
    let rows: Vec<Row> =
        pulls.into_iter().map(|((engine, case), links)| Row::new(engine, case, links)).collect();
    if let Some(path) = &options.json {
        write_json(path, "trips", &machine, &rows)?;
    }
    let (runs, seconds) = (options.runs, started.elapsed().as_secs());
    print(&format!(
        "pulls {way} over links of 50, 100, 200 and 300 ms, {runs} runs each, {seconds} s\n{machine}\n"
    ))?;
    print(&table(&rows))?;
    print(&LEGEND)
}

const LEGEND: &str = "\
round trips: the slope of pull time over the link's round trip time, least squares over medians; intercept: the rest
off: how far the farthest median is from that line    upstream, manifest GETs: requests to the registry, its token
service and its CDN for one pull, and those of them that cost quota; median (lowest-highest)
cold, re-pull: one layer of 8 kB, multi-arch    five layers: 12 MiB at 100 Mbit/s, which alone take 1.0 s, rate known";

/// One engine's turn: what it pulls is new to everyone, but for the second pull of the same.
fn play(
    world: &mut World,
    engine: EngineKind,
    cases: &[Case],
    mut measured: impl FnMut(Case, Pull),
) -> Result<()> {
    let wanted = |case| cases.contains(&case);
    if wanted(Case::Cold) || wanted(Case::Again) {
        let image = world.publish(Case::Cold)?;
        let cold = world.pull(engine, &image)?;
        if wanted(Case::Cold) {
            measured(Case::Cold, cold);
        }
        if wanted(Case::Again) {
            measured(Case::Again, world.pull(engine, &image)?);
        }
        world.remove(engine, &image)?;
    }
    if wanted(Case::FiveLayers) {
        let image = world.publish(Case::FiveLayers)?;
        measured(Case::FiveLayers, world.pull(engine, &image)?);
        world.remove(engine, &image)?;
    }
    Ok(())
}
