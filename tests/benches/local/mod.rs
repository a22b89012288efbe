//! `bench local`: our full pull on loopback, beside the alternatives for the same bytes.
//! Must never compare across runs: rounds are interleaved, and ratios are of medians of the same rounds.

mod results;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use hub_stand_in::Listen;

use crate::{
    bulk_source::{self, REPOSITORY},
    peer::{TransferPlan, Tuning},
    report::machine::Machine,
    report::output::{print, progress, write_json},
    subject::{Direct, Nginx, Ours, Quic, Subject, Tcp},
    topology::Topology,
};
pub(crate) use results::Results;

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each subject runs once in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the blob
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Only these subjects
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    measure(options).map(drop)
}

/// Measures all that was asked for, and prints it.
pub(crate) fn measure(options: &Options) -> Result<Results> {
    let machine = Machine::this();
    let subjects = select_subjects(&options.only)?;
    let content = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let topology = Topology::loopback(&source);
    let mut results = Results::default();
    for round in 1..=options.runs {
        for subject in &subjects {
            let measured = subject.start(&topology)?.measure(&TransferPlan::bytes(options.mib << 20))?;
            if let Some(why) = &measured.report.error {
                anyhow::bail!("{} failed: {why}", subject.name());
            }
            progress(&format!(
                "round {round} of {}: {:9} {:5.0} MB/s",
                options.runs,
                subject.name(),
                measured.report.overall() / 8e6
            ));
            results.add(subject.name(), measured);
        }
    }
    if let Some(path) = &options.json {
        write_json(path, "local", &machine, &results)?;
    }
    print(&format!(
        "{} MiB on loopback, medians of {} interleaved runs\n{machine}\n",
        options.mib, options.runs
    ))?;
    print(&results)?;
    Ok(results)
}

fn select_subjects(only: &[String]) -> Result<Vec<Box<dyn Subject>>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(Ours::Quic),
        Box::new(Ours::Tcp),
        Box::new(Quic { tuning: Tuning::Ours }),
        Box::new(Tcp::TLS),
        Box::new(Tcp::PLAIN),
        Box::new(Direct),
    ];
    if Nginx::is_here() {
        subjects.push(Box::new(Nginx));
    } else {
        progress("nginx is not installed: skipped");
    }
    // `straight` is an old name of `direct`.
    let only: Vec<&str> = only.iter().map(|name| if name == "straight" { "direct" } else { name }).collect();
    let names: Vec<_> = subjects.iter().map(|subject| subject.name()).collect();
    for name in &only {
        ensure!(names.contains(name), "no subject {name:?}: there are {}", names.join(", "));
    }
    subjects.retain(|subject| only.is_empty() || only.contains(&subject.name()));
    Ok(subjects)
}
