//! `bench layers`: what crosses of a layer that a client keeps on its disk, and what keeping it costs, in one table.
//! Must never count what a test's own reader buffers: the client counts what has crossed.

mod engines;
mod many;
mod power_loss;
mod ranges;
mod scene;
mod second_machine;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use docxy_tests::{
    statistics::{max, median},
    stored::{Trouble, pull_with},
};
use hub_stand_in::Listen;

use crate::{
    bulk_source::{self, REPOSITORY},
    figures::parse,
    peer::TransferPlan,
    report::{
        figure::{
            Figures,
            Wanted::{AtLeast, AtMost},
        },
        machine::Machine,
        output::{print, progress, write_json},
    },
    subject::{Measurement, Ours, Role, Subject as _},
    topology::Topology,
    trips::{self, engine::EngineKind},
};
use scene::Scene;
use second_machine::Network;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// How many times all that is timed is measured; figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the layer on loopback, and of the second machine's image
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    mib: u64,
    /// Write all figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A client that is killed at 60 %, a second engine, eight engines and eight ranges, on loopback
    Crossed,
    /// A client that is killed at 60 %, with docker and podman (root)
    Engines,
    /// Torn and truncated files
    PowerLoss,
    /// A second machine, by the first one's client and by its own, beside nginx, at 1 Gbit/s and on loopback (root)
    SecondMachine,
    /// A disk that is full, read-only, damaged or another's (root)
    Disk,
    /// Parallel ranges over 100 Mbit/s and 200 ms with 1 % loss (root)
    Ranges,
    /// Five layers by four engines, in round trips (root)
    Trips,
    /// 20,000 layers on the disk
    Many,
    /// The rate and the processor time of a first pull, with and without the disk
    Rates,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Crossed,
        Self::Engines,
        Self::PowerLoss,
        Self::SecondMachine,
        Self::Disk,
        Self::Ranges,
        Self::Trips,
        Self::Many,
        Self::Rates,
    ];
}

/// The arguments of a client that keeps layers.
pub(crate) const KEEPING: &str = "--cache-size=20 GB";

/// Power losses that are replayed for each run.
const POWER_LOSSES: u32 = 8;

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let mut figures = Figures::default();
    for part in &options.only {
        let measure = match part {
            Part::Crossed => crossed,
            Part::Engines => killed_engines,
            Part::PowerLoss => power_losses,
            Part::SecondMachine => second_machine,
            Part::Disk => disk,
            Part::Ranges => parallel_ranges,
            Part::Trips => five_layers,
            Part::Many => many_blobs,
            Part::Rates => rates,
        };
        // Its rows are missing then, which counts as missed.
        if let Err(error) = measure(options, &mut figures) {
            progress(&format!("failed: {error:#}"));
            // Without the log behind it.
            let reason = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
            figures.add(reason, "failed", AtMost(0.0), []);
        }
        if let Some(path) = &options.json {
            write_json(path, "layers", &machine, &figures)?;
        }
    }
    print(&format!("\na layer of {} MiB on loopback; {} runs\n{machine}\n", options.mib, options.runs))?;
    print(&figures)
}

fn crossed(options: &Options, figures: &mut Figures) -> Result<()> {
    type Case = fn(&mut Scene) -> Result<()>;
    let content = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let cases: [(_, _, Case); 4] = [
        ("killed with -9 at 60 %, pulled again", 0.41, Scene::killed),
        ("second engine", 0.0, Scene::second_engine),
        ("eight engines at once", 1.02, Scene::eight_engines),
        ("eight ranges bytes=N- at once, each an eighth", 1.02, Scene::eight_ranges),
    ];
    for (case, most, run) in cases {
        progress(case);
        let mut scene = Scene::start(&source, options.mib << 20)?;
        run(&mut scene)?;
        figures.add(case, "bytes crossed ÷ layer", AtMost(most), [scene.share()?]);
    }
    Ok(())
}

fn killed_engines(_: &Options, figures: &mut Figures) -> Result<()> {
    for kind in [EngineKind::Docker, EngineKind::Podman] {
        progress(&format!("{kind}, killed with -9 at 60 %"));
        let share = engines::killed(kind)?;
        figures.add(format!("the same by {kind}"), "bytes crossed ÷ layer", AtMost(0.41), [share]);
    }
    Ok(())
}

fn power_losses(options: &Options, figures: &mut Figures) -> Result<()> {
    const CASE: &str = "power loss in mid-write";
    progress(CASE);
    let content = format!("--blob={REPOSITORY}:16MiB");
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let (wrong, shares) = power_loss::replay(&source, 16 << 20, POWER_LOSSES * options.runs)?;
    let case = format!("{CASE}, {} torn or truncated files", shares.len());
    figures.add(case.clone(), "pulls with other bytes, or none", AtMost(0.0), [f64::from(wrong)]);
    figures.add(case, "most bytes crossed ÷ layer", AtMost(1.02), [max(shares)]);
    Ok(())
}

fn second_machine(options: &Options, figures: &mut Figures) -> Result<()> {
    let image = options.mib << 20;
    for (network, name, least) in [(Network::Gigabit, "1 Gbit/s", 0.95), (Network::Loopback, "loopback", 0.4)]
    {
        progress(&format!("second machine, {name}"));
        let rounds = second_machine::measure(network, image, options.runs)?;
        let speed = |seconds: f64| image as f64 / seconds / 1e6;
        let nginx = speed(median(rounds.iter().map(|round| round.nginx)));
        let case = format!("second machine, {name}");
        figures.add(case, "bytes crossed ÷ image", AtMost(0.0), rounds.iter().map(|round| round.crossed));
        let by_mirror: Vec<_> = rounds.iter().map(|round| (round.nginx, round.mirror)).collect();
        let mut pulls = vec![("the first one's client", by_mirror)];
        // A client of its own hashes and stores all before it shows it, which no network of loopback's speed waits for.
        if network == Network::Gigabit {
            pulls.push((
                "its own client",
                rounds.iter().map(|round| (round.nginx, round.neighbour)).collect(),
            ));
        }
        for (client, pairs) in pulls {
            let ours = speed(median(pairs.iter().map(|(_, ours)| *ours)));
            let case = format!("… by {client} ({ours:.0} MB/s) against nginx ({nginx:.0} MB/s)");
            figures.add(case, "rate ÷", AtLeast(least), pairs.iter().map(|(nginx, ours)| nginx / ours));
        }
    }
    Ok(())
}

fn disk(_: &Options, figures: &mut Figures) -> Result<()> {
    let (mut failed, mut silent) = (0, 0);
    for trouble in Trouble::ALL {
        progress(&format!("disk: {trouble:?}"));
        let outcome = pull_with(trouble)?;
        failed += u32::from(!outcome.is_whole);
        let is_told = outcome.status.starts_with("new layers are not kept: ");
        silent += u32::from(is_told != trouble.stops_the_cache());
    }
    const CASE: &str = "disk full in mid-pull, read-only, another user's, foreign files, flipped bits";
    figures.add(CASE, "pulls that failed", AtMost(0.0), [f64::from(failed)]);
    figures.add(CASE, "not told by `status`", AtMost(0.0), [f64::from(silent)]);
    Ok(())
}

fn parallel_ranges(options: &Options, figures: &mut Figures) -> Result<()> {
    const CASE: &str = "containerd's parallel ranges, 200 ms, 100 Mbit/s, 1 % loss";
    let (mut ratios, mut shares) = (Vec::new(), Vec::new());
    for seed in 1..=u64::from(options.runs) {
        let [default, chunked] = ranges::measure(seed)?;
        progress(&format!(
            "parallel ranges, seed {seed}: {:.1} s, {:.3} of the bytes; default {:.1} s, {:.3}",
            chunked.seconds, chunked.share, default.seconds, default.share
        ));
        ratios.push(chunked.seconds / default.seconds);
        shares.push(chunked.share);
    }
    figures.add(CASE, "time ÷ the default's", AtMost(1.0), ratios);
    figures.add(CASE, "bytes crossed ÷ layer", AtMost(1.05), shares);
    Ok(())
}

fn five_layers(options: &Options, figures: &mut Figures) -> Result<()> {
    let words = format!("--scenario five-layers --cache-size 1GB --runs {}", options.runs);
    for row in trips::measure(&parse(&words))? {
        figures.add(row.name(), "round trips, and the transfer", AtMost(1.6), [row.round_trips]);
    }
    Ok(())
}

fn many_blobs(options: &Options, figures: &mut Figures) -> Result<()> {
    const CASE: &str = "20,000 layers on the disk";
    progress(CASE);
    let content = format!("--blob={REPOSITORY}:1MiB");
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let costs = many::measure(&source, options.runs)?;
    figures.add(CASE, "the start takes more s", AtMost(0.3), costs.iter().map(|cost| cost.seconds));
    figures.add(CASE, "RSS +, MiB", AtMost(20.0), costs.iter().map(|cost| cost.mib));
    Ok(())
}

fn rates(options: &Options, figures: &mut Figures) -> Result<()> {
    let content = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let topology = Topology::loopback(&source);
    let plan = TransferPlan::bytes(options.mib << 20);
    let (mut off, mut on, mut from_disk) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.runs {
        progress(&format!("round {round} of {}: a first pull with and without the disk", options.runs));
        off.push(whole(Ours::Auto.start(&topology)?.measure(&plan)?)?);
        let keeping = Ours::Keeping.start(&topology)?;
        on.push(whole(keeping.measure(&plan)?)?);
        from_disk.push(whole(keeping.measure(&plan)?)?);
    }
    let speed = |all: &[Measurement]| median(all.iter().map(|measured| measured.report.overall() / 8e6));
    let cpu = |all: &[Measurement]| {
        median(
            all.iter().map(|measured| measured.cpu_per_gb(Role::Server) + measured.cpu_per_gb(Role::Client)),
        )
    };
    let first = format!("first pull, kept ({:.0} MB/s) against not ({:.0} MB/s)", speed(&on), speed(&off));
    figures.add(first.clone(), "rate ÷", AtLeast(0.95), [speed(&on) / speed(&off)]);
    figures.add(first, "processor time of both ends ÷", AtMost(1.15), [cpu(&on) / cpu(&off)]);
    let again = format!("second pull, from the disk ({:.0} MB/s)", speed(&from_disk));
    figures.add(again, "rate ÷ the first, not kept", AtLeast(1.0), [speed(&from_disk) / speed(&off)]);
    Ok(())
}

fn whole(measured: Measurement) -> Result<Measurement> {
    ensure!(measured.report.error.is_none(), "{}", measured.report.error.as_deref().unwrap_or_default());
    Ok(measured)
}
