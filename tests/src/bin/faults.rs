//! The fault ladder as a program; `scripts/faults` runs it.
//! Must never count a pull as successful that it did not check.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use docxy_tests::{
    faults::{EngineKind, Fault, Outcome, Testbed, TestbedOptions},
    statistics::{max, median},
    table::{Table, number},
};

/// Real engines pull a complete image through the real client and server, while one fault happens in the middle of
/// a layer.
///
/// A pull succeeds if its single command succeeds, all digests are right, and the engine reports no retry. Needs
/// root, and Debian's docker.io and podman.
#[derive(Parser)]
#[command(name = "faults", after_help = help())]
struct Arguments {
    /// How many pulls: each fault with each engine in turn, over and over [default: 100, or once each with --only]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pulls: Option<u64>,
    /// Only these faults
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    only: Vec<Fault>,
    /// Only this engine: docker or podman
    #[arg(long, value_name = "ENGINE")]
    engine: Option<EngineKind>,
    /// The first pull's seed; each following pull adds one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Size of the image, in four layers
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..))]
    mib: u64,
    /// Folder for the logs of all processes, with a folder for each pull
    #[arg(long, value_name = "FOLDER", default_value = "target/faults")]
    logs: PathBuf,
}

fn help() -> String {
    let line = |fault: Fault| format!("  {:14} {}\n", fault.name(), fault.description());
    let faults: String = Fault::ALL.into_iter().chain([Fault::None]).map(line).collect();
    format!(
        "Faults:\n{faults}\n\
         Examples:\n  \
         faults                                            the whole ladder, about 40 minutes\n  \
         faults --only outage,drain --pulls 8              two faults, twice with each engine\n  \
         faults --seed 17 --only cdn-cut --engine podman   one pull again, with the options in its line"
    )
}

/// A pull of the ladder.
#[derive(Clone, Copy)]
struct Pull {
    fault: Fault,
    engine: EngineKind,
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If stderr is closed too, the exit code alone reports the error.
            let _ = writeln!(io::stderr(), "faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all pulls succeeded.
fn run(arguments: &Arguments) -> Result<bool> {
    let testbed = Testbed::new(TestbedOptions { mib: arguments.mib, short_delays: false })?;
    let mut outcomes: BTreeMap<(Fault, EngineKind), Vec<Outcome>> = BTreeMap::new();
    for pull in pulls(arguments) {
        let outcome = testbed.run(pull.fault, pull.engine, pull.seed);
        print_outcome(pull, &outcome)?;
        write_logs(&arguments.logs, pull, &outcome)?;
        outcomes.entry((pull.fault, pull.engine)).or_default().push(outcome);
    }
    let all = || outcomes.values().flatten();
    let failures = all().filter(|outcome| outcome.failure.is_some()).count();
    writeln!(io::stdout(), "\n{}{LEGEND}\n{failures} of {} pulls failed", table(&outcomes), all().count())?;
    Ok(failures == 0)
}

const LEGEND: &str = "\
extra MiB: content that crossed the link in addition to the image's own, including packets in flight to the laptop's old
address (new-address), and content that an interrupted engine discards (cancel)
";

/// The pulls in the order of their seeds.
fn pulls(arguments: &Arguments) -> impl Iterator<Item = Pull> {
    let faults = if arguments.only.is_empty() { Fault::ALL.to_vec() } else { arguments.only.clone() };
    let engines = arguments.engine.map_or(EngineKind::ALL.to_vec(), |engine| vec![engine]);
    let round: Vec<_> =
        faults.iter().flat_map(|fault| engines.iter().map(|engine| (*fault, *engine))).collect();
    let count = match arguments.pulls {
        Some(count) => count as usize,
        None if arguments.only.is_empty() => 100,
        None => round.len(),
    };
    let pull = |((fault, engine), seed)| Pull { fault, engine, seed };
    round.into_iter().cycle().zip(arguments.seed..).take(count).map(pull)
}

fn print_outcome(pull: Pull, outcome: &Outcome) -> Result<()> {
    let Pull { fault, engine, seed } = pull;
    let result = match &outcome.failure {
        None => format!("{:6.1} s  {:>6} MiB extra", outcome.seconds, mib(outcome.extra_bytes as f64)),
        Some(why) => format!("FAILED: {why}"),
    };
    Ok(writeln!(
        io::stdout(),
        "--seed {seed:<4} --only {:14} --engine {:7} {result}",
        fault.name(),
        engine.name()
    )?)
}

fn write_logs(folder: &Path, pull: Pull, outcome: &Outcome) -> Result<()> {
    let folder = folder.join(format!("{}-{}-{}", pull.fault.name(), pull.engine.name(), pull.seed));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, log) in &outcome.logs {
        fs::write(folder.join(format!("{name}.log")), log)?;
    }
    Ok(())
}

fn table(outcomes: &BTreeMap<(Fault, EngineKind), Vec<Outcome>>) -> Table {
    let mut table = Table::new(&[
        "fault",
        "engine",
        "pulls",
        "failures",
        "extra MiB (median)",
        "(max)",
        "seconds (median)",
        "(max)",
    ]);
    for ((fault, engine), outcomes) in outcomes {
        let good = || outcomes.iter().filter(|outcome| outcome.failure.is_none());
        let extra_bytes = || good().map(|outcome| outcome.extra_bytes as f64);
        let seconds = || good().map(|outcome| outcome.seconds);
        table.row([
            fault.name().to_owned(),
            engine.name().to_owned(),
            outcomes.len().to_string(),
            (outcomes.len() - good().count()).to_string(),
            mib(median(extra_bytes())),
            mib(max(extra_bytes())),
            number(median(seconds()), 1),
            number(max(seconds()), 1),
        ]);
    }
    table
}

fn mib(bytes: f64) -> String {
    number(bytes / f64::from(1 << 20), 2)
}
