//! `bench local`: our whole pull on loopback, beside everything else that moves the same bytes.
//! Must never compare across runs: rounds are interleaved, and ratios are of medians of the same rounds.

mod results;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use docxy_tests::hub::Listen;

use crate::{
    contender::{Contender, Nginx, Ours, Quic, Straight, Tcp},
    machine::Machine,
    peer::{Appetite, Tuning},
    place::Place,
    report::{print, progress, write_json},
    source::{self, REPOSITORY},
};
use results::Results;

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each contender runs once in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the blob
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Only these contenders
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Write all that was measured to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let contenders = chosen(&options.only)?;
    let content = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = source::start(None, Listen::on(Place::LOOPBACK), &[&content])?;
    let place = Place::loopback(&source);
    let mut results = Results::default();
    for round in 1..=options.runs {
        for contender in &contenders {
            let measured = contender.start(&place)?.measure(&Appetite::bytes(options.mib << 20))?;
            if let Some(why) = &measured.reading.broken {
                anyhow::bail!("{} failed: {why}", contender.name());
            }
            progress(&format!(
                "round {round} of {}: {:9} {:5.0} MB/s",
                options.runs,
                contender.name(),
                measured.reading.overall() / 8e6
            ));
            results.add(contender.name(), measured);
        }
    }
    if let Some(path) = &options.json {
        write_json(path, "local", &machine, &results)?;
    }
    print(&format!(
        "{} MiB on loopback, medians of {} interleaved runs\n{machine}\n",
        options.mib, options.runs
    ))?;
    print(&results)
}

fn chosen(only: &[String]) -> Result<Vec<Box<dyn Contender>>> {
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Ours::Auto),
        Box::new(Quic { tuning: Tuning::Ours }),
        Box::new(Tcp::TLS),
        Box::new(Tcp::PLAIN),
        Box::new(Straight),
    ];
    if Nginx::is_here() {
        contenders.push(Box::new(Nginx));
    } else {
        progress("nginx is not installed: left out");
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name()).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "no contender {name:?}: there are {}", names.join(", "));
    }
    contenders.retain(|contender| only.is_empty() || only.iter().any(|name| name == contender.name()));
    Ok(contenders)
}
