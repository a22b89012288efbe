//! `bench load`: many pulls, clients and streams at once, what they cost, and what remains in use afterwards.
//! Must never count an incomplete pull as a success.

mod client_fleet;
mod engine_pulls;
mod resources;

use std::{
    fmt::{self, Display},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use docxy_tests::{
    docxy::{Client, Launch, Server},
    process::PROCESS_TIMEOUT,
    statistics::{max, median, percentile},
    table::{Table, number},
};
use hub_stand_in::Listen;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    bulk_source::{self, REPOSITORY},
    report::machine::Machine,
    report::output::{print, progress, write_json},
    report::usage::Usage,
    topology::Topology,
};
use client_fleet::{Fleet, PULLS_PER_CLIENT};
use resources::{Monitored, ResourceUse};

/// A repository with a blob of 1 MiB.
const SMALL_REPOSITORY: &str = "bench/small";

/// The memory of a small server.
const SMALL_MIB: u64 = 512;

/// How long an idle fleet is measured.
const IDLE_PERIOD: Duration = Duration::from_secs(10);

/// After this time all tunnels of a fleet are accepted and idle. A tunnel that ends before its Welcome does not
/// count as lost.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// How long the server is down in the second restart.
const DOWNTIME: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Concurrent pulls through one client, each of a manifest and a blob
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pulls: u32,
    /// Size of that blob
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Clients at once that are idle, and that reconnect after a restart of the server
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Requests at once on one server, each on its own stream, for a blob of 1 MiB
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All measurements.
#[derive(Default, Serialize)]
struct Results {
    usage: Vec<(String, ResourceUse)>,
    bursts: Vec<(String, Burst)>,
    /// Processor seconds of the server per second of an idle fleet.
    idle_cpu: f64,
    reconnects: Vec<(String, Reconnects)>,
}

/// How a fleet reconnected after the server was killed.
#[derive(Default, Serialize)]
struct Reconnects {
    /// Seconds from when the server listened again until each client had reconnected.
    seconds: Vec<f64>,
    /// The errors of clients that never reconnected.
    errors: Vec<String>,
}

/// The outcome of concurrent pulls.
#[derive(Serialize)]
struct Burst {
    seconds: f64,
    errors: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let (image, small) = ("--image=bench/image", format!("--blob={SMALL_REPOSITORY}:1MiB"));
    let bulk = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = bulk_source::start(None, Listen::on(Topology::LOOPBACK), &[image, &bulk, &small])?;
    let mut server = Server::start(None, Topology::LOOPBACK, &source.server_config())?;
    let mut client = Client::start(None, &server.invite("engines")?)?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    progress(&format!("inviting {} clients", options.clients));
    let links = (0..options.clients).map(|n| server.invite(&format!("client-{n}")));
    let links = links.collect::<Result<Vec<_>>>()?;
    let runtime = Runtime::new()?;
    let mut results = Results::default();

    let phase = format!("{} pulls of {} MiB", options.pulls, options.mib);
    progress(&phase);
    let (engines, bulk) = (client.address(), source.digest(REPOSITORY)?);
    // What the first pull begins and later ones use, such as kept-alive connections, is part of the initial state.
    let warm_up = runtime.block_on(engine_pulls::run_concurrently(engines, 1, bulk))?;
    ensure!(warm_up.errors.is_empty(), "the first pull failed: {:?}", warm_up.errors);
    let processes = vec![Monitored::server(&mut server), Monitored::client(&mut client)];
    let (burst, usage) = resources::during(processes, || {
        runtime.block_on(engine_pulls::run_concurrently(engines, options.pulls, bulk))
    })?;
    results.add(&phase, burst, usage);
    drop(client);

    let phase = format!("{} streams", options.streams);
    progress(&phase);
    let clients = options.streams.div_ceil(PULLS_PER_CLIENT) as usize;
    let links_for_streams = links.get(..clients).context("there are too few clients for so many streams")?;
    let digest = source.digest(SMALL_REPOSITORY)?;
    let streams = |server: &mut Server, links: &[String]| {
        resources::during(vec![Monitored::server(server)], || {
            runtime.block_on(async {
                let fleet = Fleet::connect(links).await?;
                let burst = fleet.pull(options.streams, SMALL_REPOSITORY, digest).await;
                fleet.close().await;
                burst
            })
        })
    };
    let (burst, usage) = streams(&mut server, links_for_streams)?;
    results.add(&phase, burst, usage);

    let phase = format!("{phase}, {SMALL_MIB} MiB");
    progress(&phase);
    // Its data may not grow beyond that, or it ends; the kernel's socket buffers are not counted.
    let limit = format!("--data={}", SMALL_MIB << 20);
    let launch = Launch::under(&["prlimit", &limit]);
    let mut small = Server::start_as(&launch, None, Topology::LOOPBACK, &source.server_config())?;
    let links_of_small = (0..clients).map(|n| small.invite(&format!("client-{n}")));
    let links_of_small = links_of_small.collect::<Result<Vec<_>>>()?;
    let (burst, usage) = streams(&mut small, &links_of_small)?;
    drop(small);
    results.add(&phase, burst, usage);

    let phase = format!("{} idle clients", options.clients);
    progress(&phase);
    let pid = server.process().pid();
    let (cpu, usage) = resources::during(vec![Monitored::server(&mut server)], || {
        runtime.block_on(async {
            let fleet = Fleet::connect(&links).await?;
            let before = Usage::of(pid)?;
            tokio::time::sleep(IDLE_PERIOD).await;
            let used = Usage::of(pid)? - before;
            fleet.close().await;
            Ok(used.cpu / IDLE_PERIOD.as_secs_f64())
        })
    })?;
    results.idle_cpu = cpu;
    results.usage.extend(usage.into_iter().map(|usage| (phase.clone(), usage)));

    for (name, downtime) in [("at once", Duration::ZERO), ("after 10 s", DOWNTIME)] {
        progress(&format!("the server is killed, and restarted {name}"));
        let fleet = runtime.block_on(Fleet::connect(&links))?;
        thread::sleep(SETTLE_TIME);
        let reconnects = runtime.block_on(fleet.reconnect_after(|| {
            server.process().kill()?;
            thread::sleep(downtime);
            server.start_again()
        }))?;
        runtime.block_on(fleet.close());
        results.reconnects.push((name.to_owned(), reconnects));
    }
    if let Some(path) = &options.json {
        write_json(path, "load", &machine, &results)?;
    }
    print(&format!("load on loopback: server and client as processes\n{machine}\n"))?;
    print(&results)
}

impl Results {
    fn add(&mut self, phase: &str, burst: Burst, usage: Vec<ResourceUse>) {
        self.bursts.push((phase.to_owned(), burst));
        self.usage.extend(usage.into_iter().map(|usage| (phase.to_owned(), usage)));
    }
}

/// Resources before, at peak and after each phase in one table, then errors and reconnects.
impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "phase",
            "process",
            "RSS, MiB",
            "descriptors",
            "TCP of these",
            "threads",
            "tasks",
            "streams",
        ]);
        for (phase, usage) in &self.usage {
            let three = |of: &dyn Fn(&resources::Sample) -> u64| {
                format!("{}/{}/{}", of(&usage.before), of(&usage.peak), of(&usage.after))
            };
            let count = |name: &'static str| three(&move |sample| sample.footprint.count(name));
            table.row([
                phase.clone(),
                usage.process.to_owned(),
                three(&|sample| sample.rss >> 20),
                three(&|sample| sample.footprint.descriptors as u64),
                three(&|sample| sample.footprint.tcp as u64),
                three(&|sample| sample.footprint.threads as u64),
                count("tasks"),
                count(if usage.process == "server" { "streams" } else { "segments" }),
            ]);
        }
        writeln!(out, "{table}before/peak/after the phase; the client's streams are its segments\n")?;
        for (phase, usage) in &self.usage {
            match usage.settled {
                Some(seconds) => {
                    write!(
                        out,
                        "{phase}: the {} was back to its initial state {seconds:.1} s later",
                        usage.process
                    )?;
                    match usage.kept_alive() {
                        0 => writeln!(out)?,
                        kept_alive => {
                            writeln!(out, ", with {kept_alive} connections kept alive for the next pull")?
                        }
                    }
                }
                None => writeln!(out, "{phase}: the {} DID NOT RETURN to its initial state", usage.process)?,
            }
        }
        for (phase, burst) in &self.bursts {
            let Burst { seconds, errors } = burst;
            writeln!(out, "{phase}: {} errors, {seconds:.1} s", errors.len())?;
            errors.iter().take(5).try_for_each(|error| writeln!(out, "  {error}"))?;
        }
        writeln!(out, "an idle fleet uses {:.1} % of a core on the server", self.idle_cpu * 100.0)?;
        for (name, Reconnects { seconds, errors }) in &self.reconnects {
            let seconds = || seconds.iter().copied();
            let figures = [median(seconds()), percentile(seconds(), 0.99), max(seconds())];
            let [median, p99, last] = figures.map(|figure| number(figure, 2));
            let never = errors.len();
            writeln!(out, "restarted {name}: median {median} s, 99 % {p99} s, last {last} s, never {never}")?;
            errors.iter().take(5).try_for_each(|error| writeln!(out, "  {error}"))?;
        }
        Ok(())
    }
}
