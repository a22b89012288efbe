//! `bench engines`: skopeo pulls a complete image, through the tunnel and directly.
//! Must never compare two engines: both routes use the same skopeo.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use docxy_tests::{
    docxy::{Client, Server},
    engine::{DirectAccess, Sandbox},
    net::Lab,
    process::run as run_command,
    stand_in::StandIn,
    statistics::{max, median, min},
    table::{Table, number},
};
use hub_stand_in::Listen;

use crate::{
    bulk_source,
    report::machine::Machine,
    report::output::{print, progress, write_json},
};

const IMAGE: &str = "docker://docker.io/bench/image:latest";

/// Timeout of a pull.
const PULL_TIMEOUT: Duration = Duration::from_secs(120);

/// All hosts of Docker Hub listen on port 443, so each needs an address.
const HUB_ADDRESSES: [IpAddr; 3] =
    [Lab::HUB, IpAddr::V4(Ipv4Addr::new(10, 61, 2, 3)), IpAddr::V4(Ipv4Addr::new(10, 61, 2, 4))];

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each route pulls once in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the image, in five layers
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A route to the image.
struct Route {
    name: &'static str,
    sandbox: Sandbox,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let lab = Lab::new()?;
    let source = source(&lab, options.mib)?;
    let server = Server::start(Some(&lab.abroad), Lab::ABROAD, &source.server_config())?;
    let client = Client::start(Some(&lab.laptop), &server.invite("bench")?)?;
    let routes = [Route::tunnel(&lab, &client.address().to_string())?, Route::direct(&lab, &source)?];
    let mut results: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for route in &routes {
        // Warm-up, not measured: the programs are read from the disk.
        route.pull()?;
    }
    for round in 1..=options.runs {
        for route in &routes {
            let seconds = route.pull()?.as_secs_f64();
            progress(&format!("round {round} of {}: {:8} {seconds:.2} s", options.runs, route.name));
            results.entry(route.name).or_default().push(seconds);
        }
    }
    if let Some(path) = &options.json {
        write_json(path, "engines", &machine, &results)?;
    }
    let runs = options.runs;
    print(&format!("skopeo copy of {} MiB in 5 layers, {runs} interleaved runs\n{machine}\n", options.mib))?;
    print(&table(&routes, &results))
}

fn table(routes: &[Route], results: &BTreeMap<&str, Vec<f64>>) -> Table {
    let mut table = Table::new(&["route", "seconds (median)", "lowest", "highest", "x direct"]);
    let seconds = |name: &str| results.get(name).into_iter().flatten().copied();
    for Route { name, .. } in routes {
        table.row([
            (*name).to_owned(),
            number(median(seconds(name)), 2),
            number(min(seconds(name)), 2),
            number(max(seconds(name)), 2),
            number(median(seconds(name)) / median(seconds("direct")), 2),
        ]);
    }
    table
}

/// The stand-in in place of Docker Hub: each host on port 443.
fn source(lab: &Lab, mib: u64) -> Result<StandIn> {
    for address in &HUB_ADDRESSES[1..] {
        let mut command = lab.hub.command("ip");
        command.args(["addr", "add", &format!("{address}/24"), "dev", "to-abroad"]);
        run_command(command, PULL_TIMEOUT)?.succeeded()?;
    }
    let [registry, auth, cdn] = HUB_ADDRESSES.map(|ip| SocketAddr::new(ip, 443));
    let image = format!("--image=bench/image:{mib}MiB");
    bulk_source::start(Some(&lab.hub), Listen { registry, auth, cdn }, &[&image])
}

impl Route {
    /// From the laptop, with our client as the mirror.
    fn tunnel(lab: &Lab, mirror: &str) -> Result<Self> {
        let sandbox = Sandbox::new(&lab.laptop)?;
        let registries = format!(
            "[[registry]]\nlocation = \"docker.io\"\n\
             [[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n"
        );
        sandbox.write("containers/registries.conf", &registries)?;
        Self::new("tunnel", sandbox)
    }

    /// From the server's namespace, which reaches the stand-in as if it were Docker Hub.
    fn direct(lab: &Lab, source: &StandIn) -> Result<Self> {
        let direct = DirectAccess { hosts: source.resolve().clone(), ca: source.ca() };
        Self::new("direct", Sandbox::with_direct_access(&lab.abroad, &direct)?)
    }

    fn new(name: &'static str, sandbox: Sandbox) -> Result<Self> {
        sandbox.write("containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        Ok(Self { name, sandbox })
    }

    fn pull(&self) -> Result<Duration> {
        let target = self.sandbox.path("pulled");
        let mut command = self.sandbox.command("skopeo");
        command.args(["copy", "--preserve-digests", IMAGE]).arg(format!("dir:{}", target.display()));
        let started = Instant::now();
        run_command(command, PULL_TIMEOUT)?.succeeded()?;
        let taken = started.elapsed();
        fs::remove_dir_all(&target)?;
        Ok(taken)
    }
}
