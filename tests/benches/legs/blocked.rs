//! UDP that is blocked in the middle of a pull, and opened again.
//! Must never block anything else: the other leg has to be there.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch, Server, content_bytes},
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Counters, Direction, UdpRule, Wan, presets},
};

use super::{Run, row::Row};

const NAME: &str = "UDP blocked in mid-pull";

/// How much of the blob arrives before UDP is blocked.
const BLOCKED_AT_BYTES: u64 = 30 << 20;

/// How long UDP is blocked.
const BLOCKED_FOR: Duration = Duration::from_secs(10);

/// How long after the block everything that was in flight has arrived or is lost, and TCP carries nothing yet: a session
/// must be silent for a second before it is replaced.
const DRAINED_AFTER: Duration = Duration::from_millis(700);

/// How long QUIC may take to come back: the first rest is ten minutes at most.
const RETURN_TIMEOUT: Duration = Duration::from_secs(11 * 60);

/// UDP carries bulk again, not only trials.
const BULK_BYTES: u64 = 8 << 20;

pub(super) fn run(run: &Run<'_>) -> Result<Vec<Row>> {
    Ok(vec![Row::new(NAME, Blocked::run(run).map(|(blocked, _)| blocked.values()))])
}

pub(super) fn run_until_return(run: &Run<'_>) -> Result<Vec<Row>> {
    let outcome = Blocked::run(run).and_then(|(blocked, client)| {
        let returned = blocked.until_return(run.lab, &client)?;
        Ok(blocked.values().into_iter().chain([("QUIC again after s", returned.as_secs_f64())]).collect())
    });
    Ok(vec![Row::new(NAME, outcome)])
}

/// A link on which UDP was blocked for a while.
struct Blocked {
    wan: Wan,
    opened: Instant,
    silence: Duration,
    extra_bytes: f64,
    /// What had arrived behind lost packets, so that the engine could not have it.
    behind_gaps: f64,
    in_flight: f64,
    _server: Server,
}

impl Blocked {
    fn run(run: &Run<'_>) -> Result<(Self, Client)> {
        let lab = run.lab;
        let network = run.networks.first().unwrap_or(&presets::TRANSPACIFIC);
        let wan = lab.link(Abroad::FIRST, network.link, run.seed)?;
        let server = lab.server(Abroad::FIRST, &Launch::default())?;
        let client = lab.connected_client(&server.invite("laptop")?, &run.launch())?;
        let before = wan.counters(Direction::RightToLeft);
        let body = lab.begin(&client)?;
        let begun = Instant::now();
        while body.bytes() < BLOCKED_AT_BYTES {
            ensure!(begun.elapsed() < BLOCKED_FOR * 6, "the pull does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        let in_flight = wan.counters(Direction::RightToLeft).in_flight().bytes as f64;
        let blocked = Instant::now();
        set_udp(&wan, UdpRule::Blocked);
        thread::sleep(DRAINED_AFTER);
        let arrived = content_bytes(before, wan.counters(Direction::RightToLeft));
        let behind_gaps = arrived as f64 - body.bytes() as f64;
        thread::sleep(BLOCKED_FOR - DRAINED_AFTER);
        set_udp(&wan, UdpRule::Pass);
        let opened = Instant::now();
        let arrivals = lab.finish(body)?;
        let crossed = content_bytes(before, wan.counters(Direction::RightToLeft));
        let blocked = Self {
            wan,
            opened,
            silence: arrivals.longest_silence(blocked),
            extra_bytes: crossed as f64 - arrivals.bytes() as f64,
            behind_gaps,
            in_flight,
            _server: server,
        };
        Ok((blocked, client))
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let mib = f64::from(1 << 20);
        vec![
            ("silence s", self.silence.as_secs_f64()),
            ("extra MiB", self.extra_bytes / mib),
            ("arrived behind gaps MiB", self.behind_gaps / mib),
            ("extra beyond MiB", (self.extra_bytes - self.behind_gaps) / mib),
            ("in flight at the block MiB", self.in_flight / mib),
        ]
    }

    /// Pulls over and over until UDP carries bulk again.
    fn until_return(&self, lab: &TunnelLab, client: &Client) -> Result<Duration> {
        while self.opened.elapsed() < RETURN_TIMEOUT {
            let before = udp_bytes(self.wan.counters(Direction::RightToLeft));
            lab.pull(client)?;
            if udp_bytes(self.wan.counters(Direction::RightToLeft)) - before > BULK_BYTES {
                return Ok(self.opened.elapsed());
            }
            thread::sleep(Duration::from_secs(2));
        }
        anyhow::bail!("QUIC was not used again within {RETURN_TIMEOUT:?}")
    }
}

fn set_udp(wan: &Wan, rule: UdpRule) {
    wan.change(|link| link.both_mut().into_iter().for_each(|direction| direction.udp = rule));
}

fn udp_bytes(counters: Counters) -> u64 {
    (counters.delivered - counters.delivered_tcp).bytes
}
