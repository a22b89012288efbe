//! `bench layers`: what crosses of a layer that a client keeps on its disk, and what keeping it costs.
//! Must never count what a test's own reader buffers: the client counts what has crossed.

mod reader;

use std::{
    net::SocketAddr,
    path::PathBuf,
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
    stand_in::StandIn,
    statistics::{max, median, min},
    table::{Table, number},
};
use hub_stand_in::Listen;
use serde::Serialize;

use crate::{
    bulk_source::{self, REPOSITORY},
    peer::TransferPlan,
    report::machine::Machine,
    report::output::{print, progress, write_json},
    subject::{Measurement, Ours, Role, Subject as _},
    topology::Topology,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds of what is timed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the layer
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    mib: u64,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The arguments of a client that keeps layers.
pub(crate) const KEEPING: &str = "--cache-size=20 GB";

/// What has crossed, as a share of the layer.
#[derive(Serialize)]
struct Crossed {
    case: &'static str,
    target: &'static str,
    share: f64,
}

#[derive(Default, Serialize)]
struct Results {
    crossed: Vec<Crossed>,
    off: Vec<Measurement>,
    on: Vec<Measurement>,
    from_disk: Vec<Measurement>,
}

/// What happens, how much of the blob may cross the tunnel, and what does it.
type Case = (&'static str, &'static str, fn(&mut Scene) -> Result<()>);

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let content = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[&content])?;
    let mut results = Results::default();
    let cases: [Case; 4] = [
        ("client killed with -9 at 60 %, pulled again", "<= 0.41", killed),
        ("second engine", "0", second_engine),
        ("eight engines at once", "<= 1.02", eight_engines),
        ("eight ranges bytes=N- at once, each an eighth", "<= 1.02", eight_ranges),
    ];
    for (case, target, run) in cases {
        let mut scene = Scene::start(&source, options.mib << 20)?;
        run(&mut scene)?;
        let share = scene.crossed()? as f64 / scene.length as f64;
        progress(&format!("{case}: {share:.3}"));
        results.crossed.push(Crossed { case, target, share });
    }
    let topology = Topology::loopback(&source);
    let plan = TransferPlan::bytes(options.mib << 20);
    for round in 1..=options.runs {
        progress(&format!("round {round} of {}: a first pull with and without the disk", options.runs));
        results.off.push(whole(Ours::Auto.start(&topology)?.measure(&plan)?)?);
        let keeping = Ours::Keeping.start(&topology)?;
        results.on.push(whole(keeping.measure(&plan)?)?);
        results.from_disk.push(whole(keeping.measure(&plan)?)?);
    }
    if let Some(path) = &options.json {
        write_json(path, "layers", &machine, &results)?;
    }
    print(&format!(
        "a layer of {} MiB on loopback; {} interleaved runs\n{machine}\n",
        options.mib, options.runs
    ))?;
    let mut table = Table::new(&["case", "crossed / layer", "target"]);
    for Crossed { case, target, share } in &results.crossed {
        table.row([(*case).to_owned(), number(*share, 3), (*target).to_owned()]);
    }
    print(&table)?;
    print(&rates(&results))
}

/// Client, server and a layer, with a disk that is empty.
struct Scene {
    client: Client,
    _server: Server,
    path: String,
    length: u64,
    /// What crossed before the last start.
    before: u64,
}

impl Scene {
    fn start(source: &StandIn, length: u64) -> Result<Self> {
        let server = Server::start(None, Topology::LOOPBACK, &source.server_config())?;
        let mut client = Client::start_with(None, &server.invite("bench")?, &[KEEPING])?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        let path = format!("/v2/{REPOSITORY}/blobs/{}", source.digest(REPOSITORY)?);
        Ok(Self { client, _server: server, path, length, before: 0 })
    }

    /// Since the measurement began.
    fn crossed(&self) -> Result<u64> {
        Ok(self.client.count("transfers/bytes_crossed")? - self.before)
    }

    /// Reads this range of the layer, or the whole, up to so many bytes.
    fn read(&self, start: Option<u64>, bytes: u64) -> JoinHandle<Result<()>> {
        let (address, path): (SocketAddr, _) = (self.client.address(), self.path.clone());
        thread::spawn(move || reader::read(address, &path, start, bytes))
    }
}

fn end(reading: JoinHandle<Result<()>>) -> Result<()> {
    reading.join().map_err(|_| anyhow!("a reader panicked"))?
}

fn killed(scene: &mut Scene) -> Result<()> {
    let arrives = scene.length * 6 / 10;
    end(scene.read(None, arrives))?;
    // The line of a user is slower than a disk.
    let is_stored = |health: &serde_json::Value| {
        health["cache"]["bytes"].as_u64().is_some_and(|bytes| bytes + (1 << 20) >= arrives)
    };
    scene.client.wait_for_health("store 60 %", PROCESS_TIMEOUT, is_stored)?;
    scene.client.process().kill()?;
    scene.client.start_again_with(&[KEEPING])?;
    scene.client.wait_until_up(PROCESS_TIMEOUT)?;
    end(scene.read(None, scene.length))
}

fn second_engine(scene: &mut Scene) -> Result<()> {
    end(scene.read(None, scene.length))?;
    scene.before = scene.crossed()?;
    end(scene.read(None, scene.length))
}

fn eight_engines(scene: &mut Scene) -> Result<()> {
    let readings: Vec<_> = (0..8).map(|_| scene.read(None, scene.length)).collect();
    readings.into_iter().try_for_each(end)
}

fn eight_ranges(scene: &mut Scene) -> Result<()> {
    let part = scene.length / 8;
    let readings: Vec<_> = (0..8).map(|n| scene.read(Some(n * part), part)).collect();
    readings.into_iter().try_for_each(end)
}

fn whole(measured: Measurement) -> Result<Measurement> {
    ensure!(measured.report.error.is_none(), "{}", measured.report.error.as_deref().unwrap_or_default());
    Ok(measured)
}

fn rates(results: &Results) -> Table {
    let mut table = Table::new(&["pull", "MB/s", "x off", "CPU s/GB, both ends", "x off", "RSS client, MiB"]);
    let speed = |measured: &Measurement| measured.report.overall() / 8e6;
    let cpu = |measured: &Measurement| measured.cpu_per_gb(Role::Server) + measured.cpu_per_gb(Role::Client);
    let medians = |all: &[Measurement]| (median(all.iter().map(speed)), median(all.iter().map(cpu)));
    let (speed_off, cpu_off) = medians(&results.off);
    for (name, all) in [
        ("first, without the disk", &results.off),
        ("first, kept", &results.on),
        ("from the disk", &results.from_disk),
    ] {
        let (speed_here, cpu_here) = medians(all);
        table.row([
            name.to_owned(),
            format!("{speed_here:.0} ({:.0}-{:.0})", min(all.iter().map(speed)), max(all.iter().map(speed))),
            number(speed_here / speed_off, 2),
            number(cpu_here, 2),
            number(cpu_here / cpu_off, 2),
            number(median(all.iter().map(|measured| measured.rss_mib(Role::Client))), 0),
        ]);
    }
    table
}
