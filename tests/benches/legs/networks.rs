//! Every kind of network: the first byte of a manifest after the start of the client, and a pull.
//! Must never start a client that knows the network already, except for the second start.

use std::time::Instant;

use anyhow::Result;
use docxy_tests::{
    docxy::content_bytes,
    tunnel_lab::Abroad,
    wan::{Counters, Direction, LinkPreset, presets},
};

use super::{Run, row::Row};
use crate::report::output::progress;

const NETWORKS: [LinkPreset; 11] = [
    presets::TRANSPACIFIC,
    presets::POLICED_UDP,
    presets::BLOCKED_UDP,
    presets::QUIC_CRYPTO_ERROR,
    presets::QUIC_RETRY,
    presets::QUIC_VERSIONS,
    presets::ONE_WAY_UDP,
    presets::FROZEN_TCP,
    presets::DROPPED_SERVERHELLO,
    presets::RESET_PORT,
    presets::BLACK_HOLED_IPV6,
];

pub(super) fn run(run: &Run<'_>) -> Result<Vec<Row>> {
    let measure = |network: &LinkPreset| {
        progress(&format!("  {}", network.name));
        Row::new(network.name, measure(run, network))
    };
    let networks = if run.networks.is_empty() { &NETWORKS[..] } else { run.networks };
    Ok(networks.iter().map(measure).collect())
}

fn measure(run: &Run<'_>, network: &LinkPreset) -> Result<Vec<(&'static str, f64)>> {
    let lab = run.lab;
    let wan = lab.link(Abroad::FIRST, network.link, run.seed)?;
    let joined = lab.join(&network.link, run.client)?;
    let started = Instant::now();
    let mut client = lab.client(&joined.link, &joined.launch)?;
    let first = lab.manifest(&client)? - started;

    let before = wan.counters(Direction::RightToLeft);
    let begun = Instant::now();
    let arrivals = lab.pull(&client)?;
    let seconds = arrivals.last().map_or(f64::NAN, |last| (last - begun).as_secs_f64());
    let after = wan.counters(Direction::RightToLeft);
    let extra = content_bytes(before, after) as f64 - arrivals.bytes() as f64;

    client.stop()?;
    let started = Instant::now();
    client.start_again_as(&joined.launch)?;
    let second = lab.manifest(&client)? - started;
    Ok(vec![
        ("manifest s", first.as_secs_f64()),
        ("again s", second.as_secs_f64()),
        ("pull Mbit/s", arrivals.bytes() as f64 * 8e-6 / seconds),
        ("silence s", arrivals.longest_silence(begun).as_secs_f64()),
        ("by TCP %", by_tcp(before, after)),
        ("extra MiB", extra / f64::from(1 << 20)),
    ])
}

/// The share of the link's bytes that were TCP, in percent.
fn by_tcp(before: Counters, after: Counters) -> f64 {
    let tcp = (after.delivered_tcp - before.delivered_tcp).bytes as f64;
    tcp * 100.0 / (after.delivered - before.delivered).bytes as f64
}
