//! `bench load`: many pulls, clients and streams at once, what they cost, and what is left when they are over.
//! Must never count a pull that wasn't whole as one that was.

mod fleet;
mod pulls;
mod watch;

use std::{
    fmt::{self, Display},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use docxy_tests::{
    docxy::{Client, Server},
    hub::Listen,
    process::PATIENCE,
    statistics::{median, most, percentile},
    table::{Table, number},
};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    machine::Machine,
    place::Place,
    report::{print, progress, write_json},
    source::{self, REPOSITORY},
    usage::Usage,
};
use fleet::{Fleet, PULLS_PER_CLIENT};
use watch::{Held, Watched};

/// A repository with a blob of 1 MiB.
const SMALL: &str = "bench/small";

/// How long an idle fleet is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Behind this a fleet's tunnels have been welcomed, and rest. One that is lost before its Welcome never was one.
const WELCOMED: Duration = Duration::from_secs(3);

/// How long the server is away in the second restart.
const AWAY: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Pulls at once through one client, of a manifest and a blob
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pulls: u32,
    /// Size of that blob
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Clients at once that are idle, and that a restarted server takes back
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Requests at once on one server, each on a stream of its own, for a blob of 1 MiB
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Write all that was measured to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All that was measured.
#[derive(Default, Serialize)]
struct Results {
    held: Vec<(String, Held)>,
    rushes: Vec<(String, Rush)>,
    /// Seconds of the server's processor time for each second of an idle fleet.
    idle_cpu: f64,
    restarts: Vec<(String, Restart)>,
}

/// A fleet whose server was killed.
#[derive(Default, Serialize)]
struct Restart {
    /// From when the server listened again until each client was back.
    seconds: Vec<f64>,
    /// Of those that never were.
    errors: Vec<String>,
}

/// How many pulls at once went.
#[derive(Serialize)]
struct Rush {
    seconds: f64,
    errors: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let (image, small) = ("--image=bench/image", format!("--blob={SMALL}:1MiB"));
    let bulk = format!("--blob={REPOSITORY}:{}MiB", options.mib);
    let source = source::start(None, Listen::on(Place::LOOPBACK), &[image, &bulk, &small])?;
    let mut server = Server::start(None, Place::LOOPBACK, &source.server_config())?;
    let mut client = Client::start(None, &server.invite("engines")?)?;
    client.process().wait_for_line("tunnel up", PATIENCE)?;
    progress(&format!("inviting {} clients", options.clients));
    let links = (0..options.clients).map(|n| server.invite(&format!("client-{n}")));
    let links = links.collect::<Result<Vec<_>>>()?;
    let runtime = Runtime::new()?;
    let mut results = Results::default();

    let scene = format!("{} pulls of {} MiB", options.pulls, options.mib);
    progress(&scene);
    let (engines, bulk) = (client.address(), source.digest(REPOSITORY)?);
    let parties = vec![Watched::server(&mut server), Watched::client(&mut client)];
    let (rush, held) =
        watch::during(parties, || runtime.block_on(pulls::at_once(engines, options.pulls, bulk)))?;
    results.add(&scene, rush, held);
    drop(client);

    let scene = format!("{} streams", options.streams);
    progress(&scene);
    let few = options.streams.div_ceil(PULLS_PER_CLIENT) as usize;
    let links_of_few = links.get(..few).context("so many streams take more clients")?;
    let (rush, held) = watch::during(vec![Watched::server(&mut server)], || {
        runtime.block_on(async {
            let fleet = Fleet::connect(links_of_few).await?;
            let rush = fleet.pull(options.streams, SMALL, source.digest(SMALL)?).await;
            fleet.hang_up().await;
            rush
        })
    })?;
    results.add(&scene, rush, held);

    let scene = format!("{} idle clients", options.clients);
    progress(&scene);
    let pid = server.process().pid();
    let (cpu, held) = watch::during(vec![Watched::server(&mut server)], || {
        runtime.block_on(async {
            let fleet = Fleet::connect(&links).await?;
            let before = Usage::of(pid)?;
            tokio::time::sleep(IDLE).await;
            let used = Usage::of(pid)? - before;
            fleet.hang_up().await;
            Ok(used.cpu / IDLE.as_secs_f64())
        })
    })?;
    results.idle_cpu = cpu;
    results.held.extend(held.into_iter().map(|held| (scene.clone(), held)));

    for (name, away) in [("at once", Duration::ZERO), ("after 10 s", AWAY)] {
        progress(&format!("the server is killed, and restarted {name}"));
        let fleet = runtime.block_on(Fleet::connect(&links))?;
        thread::sleep(WELCOMED);
        let back = runtime.block_on(fleet.outlive(|| {
            server.process().kill()?;
            thread::sleep(away);
            server.start_again()
        }))?;
        runtime.block_on(fleet.hang_up());
        results.restarts.push((name.to_owned(), back));
    }
    if let Some(path) = &options.json {
        write_json(path, "load", &machine, &results)?;
    }
    print(&format!("load on loopback: server and client as processes\n{machine}\n"))?;
    print(&results)
}

impl Results {
    fn add(&mut self, scene: &str, rush: Rush, held: Vec<Held>) {
        self.rushes.push((scene.to_owned(), rush));
        self.held.extend(held.into_iter().map(|held| (scene.to_owned(), held)));
    }
}

/// Before, at most, and after, in one table; the errors and the restarts below.
impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "scene",
            "of",
            "RSS, MiB",
            "descriptors",
            "of them TCP",
            "threads",
            "tasks",
            "streams",
        ]);
        for (scene, held) in &self.held {
            let three = |of: &dyn Fn(&watch::Sample) -> u64| {
                format!("{}/{}/{}", of(&held.before), of(&held.most), of(&held.after))
            };
            let count = |name: &'static str| three(&move |sample| sample.footprint.count(name));
            table.row([
                scene.clone(),
                held.of.to_owned(),
                three(&|sample| sample.rss >> 20),
                three(&|sample| sample.footprint.descriptors as u64),
                three(&|sample| sample.footprint.tcp as u64),
                three(&|sample| sample.footprint.threads as u64),
                count("tasks"),
                count(if held.of == "server" { "streams" } else { "segments" }),
            ]);
        }
        writeln!(
            out,
            "{table}before, at most, and after the scene; the client's streams are its segments\n"
        )?;
        for (scene, held) in &self.held {
            match held.settled {
                Some(seconds) => {
                    write!(out, "{scene}: the {} was as before {seconds:.1} s later", held.of)?;
                    match held.warm() {
                        0 => writeln!(out)?,
                        warm => writeln!(out, ", with {warm} connections kept for the next pull")?,
                    }
                }
                None => writeln!(out, "{scene}: the {} DID NOT COME BACK to where it was", held.of)?,
            }
        }
        for (scene, rush) in &self.rushes {
            let Rush { seconds, errors } = rush;
            writeln!(out, "{scene}: {} errors, {seconds:.1} s", errors.len())?;
            errors.iter().take(5).try_for_each(|error| writeln!(out, "  {error}"))?;
        }
        writeln!(out, "an idle fleet costs the server {:.1} % of a core", self.idle_cpu * 100.0)?;
        for (name, Restart { seconds, errors }) in &self.restarts {
            let seconds = || seconds.iter().copied();
            let figures = [median(seconds()), percentile(seconds(), 0.99), most(seconds())];
            let [median, p99, last] = figures.map(|figure| number(figure, 2));
            let never = errors.len();
            writeln!(out, "restarted {name}: median {median} s, 99 % {p99} s, last {last} s, never {never}")?;
            errors.iter().take(5).try_for_each(|error| writeln!(out, "  {error}"))?;
        }
        Ok(())
    }
}
