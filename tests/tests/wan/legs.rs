//! One leg alone: TCP where UDP is blocked, the number of its connections, and a kernel without BBR.
//! Must never judge the speed: `scripts/bench` measures it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch},
    engine::Body,
    process::{connections_from, scratch},
    tunnel_lab::{Abroad, TunnelLab},
    wan::presets,
};
use serde_json::Value;

/// Size of the blob: several windows of the links.
pub(crate) const BLOB_MIB: u64 = 32;

pub(crate) const MIB: u64 = 1 << 20;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whatever the variant of the test run.
const TCP: &[&str] = &["--leg=tcp"];

/// Waits until a body has this many bytes.
pub(crate) fn wait_for(body: &Body, bytes: u64) -> Result<()> {
    let started = Instant::now();
    while body.bytes() < bytes {
        ensure!(started.elapsed() < TIMEOUT, "the pull does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn the_tcp_leg_carries_a_pull_where_udp_is_blocked() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let _wan = lab.link(Abroad::FIRST, presets::BLOCKED_UDP.link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let client = lab.client(&server.invite("laptop")?, &Launch::with(TCP))?;
    lab.manifest(&client)?;
    lab.pull(&client).map(drop)
}

/// The most TCP connections that this server sees from the laptop while `act` runs.
fn most_connections<T>(
    client: &mut Client,
    server: SocketAddr,
    act: impl FnOnce(&Client) -> Result<T>,
) -> Result<usize> {
    let pid = client.process().pid();
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(connections_from(pid, server), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let outcome = act(client);
        done.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(most.into_inner())
}

#[test]
fn a_server_sees_six_tcp_connections_at_most() -> Result<()> {
    const CONNECTIONS_MAX: usize = 6;
    let lab = TunnelLab::new(BLOB_MIB)?;
    let wan = lab.link(Abroad::FIRST, presets::TRANSPACIFIC.link, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let mut client = lab.connected_client(&server.invite("laptop")?, &Launch::with(TCP))?;
    let folder = scratch()?;
    let most = most_connections(&mut client, server.address(), |client| {
        let body = lab.begin(client)?;
        wait_for(&body, 8 * MIB)?;
        let image = |n: usize| folder.path().join(n.to_string()).display().to_string();
        let begin = |n| client.start_command(&["pull", "wan/image", "-o", &image(n)]);
        let mut pulls = (0..3).map(begin).collect::<Result<Vec<_>>>()?;
        let mut doctor = client.start_command(&["doctor", "--json"])?;
        // Every connection is lost, and no end knows.
        wan.block_flows();
        for pull in &mut pulls {
            let status = pull.wait_until_ended(TIMEOUT)?;
            ensure!(status.success(), "a pull ended with {status}");
        }
        // What it says is another test's.
        doctor.wait_until_ended(TIMEOUT)?;
        lab.finish(body)
    })?;
    ensure!((1..=CONNECTIONS_MAX).contains(&most), "{most} connections");
    Ok(())
}

#[test]
fn without_bbr_the_tcp_leg_works() -> Result<()> {
    /// What the kernel says to a user who may not have BBR, and without its module.
    const ERRORS: [(&str, &str, &str); 2] =
        [("EPERM", "1", "tcp_allowed_congestion_control"), ("ENOENT", "2", "modprobe tcp_bbr")];
    let lab = TunnelLab::new(BLOB_MIB)?;
    let _wan = lab.link(Abroad::FIRST, presets::CLEAN_METRO.link, 1)?;
    for (name, number, remedy) in ERRORS {
        let refused = |arguments: &[&str]| Launch {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            ..Launch::under(&[env!("CARGO_BIN_EXE_without-bbr"), number])
        };
        let mut server = lab.server(Abroad::FIRST, &refused(&[]))?;
        let mut client = lab.connected_client(&server.invite("laptop")?, &refused(TCP))?;
        lab.pull(&client).with_context(|| name.to_owned())?;
        // Both say what is missing.
        let advises =
            |status: &Value| status["tcp_congestion"]["advice"].as_str().is_some_and(|a| a.contains(remedy));
        client.wait_for_health("advise", TIMEOUT, advises)?;
        server.wait_for_status("advise", TIMEOUT, advises)?;
    }
    Ok(())
}
