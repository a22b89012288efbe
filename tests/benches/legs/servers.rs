//! Two servers, each behind its own half of the line.
//! Must never let one server's link carry the other's bytes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch, Server},
    engine::Arrivals,
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Wan, presets},
};

use super::{Run, row::Row};

/// How much of the blob arrives before a server is killed.
const KILLED_AT_BYTES: u64 = 30 << 20;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(run: &Run<'_>) -> Result<Vec<Row>> {
    Ok(vec![
        Row::new("one server", speed(run, &[Abroad::FIRST])),
        Row::new("two servers", speed(run, &[Abroad::FIRST, Abroad::SECOND])),
        Row::new("one of two killed", killed(run)),
    ])
}

/// Servers behind links of 50 Mbit/s, and a client that has joined them all. Drop order: the links last.
struct Fleet {
    client: Client,
    servers: Vec<Server>,
    _links: Vec<Wan>,
}

impl Fleet {
    fn start(run: &Run<'_>, abroad: &[Abroad]) -> Result<Self> {
        let Run { lab, seed, .. } = *run;
        let links = abroad.iter().map(|abroad| lab.link(*abroad, presets::TRANSPACIFIC_50M.link, seed));
        let links = links.collect::<Result<_>>()?;
        let servers = abroad.iter().map(|abroad| lab.server(*abroad, &Launch::default()));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let joined = servers.iter().map(|server| server.invite("laptop")).collect::<Result<Vec<_>>>()?;
        let client = lab.connected_client(&(joined.join("\n") + "\n"), &run.launch())?;
        Ok(Self { client, servers, _links: links })
    }
}

/// A pull of a blob, and right after it another one, when the client knows the paths.
fn speed(run: &Run<'_>, abroad: &[Abroad]) -> Result<Vec<(&'static str, f64)>> {
    let fleet = Fleet::start(run, abroad)?;
    let [first, second] = [pull(run.lab, &fleet.client)?, pull(run.lab, &fleet.client)?];
    Ok(vec![("Mbit/s", first), ("second pull Mbit/s", second), ("silence s", f64::NAN)])
}

fn pull(lab: &TunnelLab, client: &Client) -> Result<f64> {
    let begun = Instant::now();
    Ok(rate(begun, &lab.pull(client)?))
}

fn killed(run: &Run<'_>) -> Result<Vec<(&'static str, f64)>> {
    let mut fleet = Fleet::start(run, &[Abroad::FIRST, Abroad::SECOND])?;
    let begun = Instant::now();
    let body = run.lab.begin(&fleet.client)?;
    while body.bytes() < KILLED_AT_BYTES {
        ensure!(begun.elapsed() < TIMEOUT, "the pull does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    let killed = Instant::now();
    fleet.servers[0].process().kill()?;
    let arrivals = run.lab.finish(body)?;
    let silence = arrivals.longest_silence(killed).as_secs_f64();
    Ok(vec![("Mbit/s", rate(begun, &arrivals)), ("second pull Mbit/s", f64::NAN), ("silence s", silence)])
}

fn rate(begun: Instant, arrivals: &Arrivals) -> f64 {
    let seconds = arrivals.last().map_or(f64::NAN, |last| (last - begun).as_secs_f64());
    arrivals.bytes() as f64 * 8e-6 / seconds
}
