//! Several bodies of one client on a slow line: a cancelled one frees it at once, and none waits for another.
//! Must never measure time where the bytes that cross the line tell as much: other load on the machine slows all
//! programs, and the emulated line with them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Client, Launch, Server},
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Conditions, Link, Rate, Wan},
};

use crate::support::test_link::MS;

const MIB: u64 = 1 << 20;

/// Size of the blob: no test reads it to its end.
const BLOB_MIB: u64 = 48;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes that have crossed the line towards the client.
fn crossed(wan: &Wan) -> Result<u64> {
    Ok(wan.report()?.right_to_left.counters.delivered.bytes)
}

fn wait_until(what: &str, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !probe()? {
        ensure!(started.elapsed() < TIMEOUT, "it takes too long: {what}");
        thread::sleep(5 * MS);
    }
    Ok(())
}

/// A server and a client on a line of 100 ms, without loss.
fn on_a_slow_line(lab: &TunnelLab, mbit: u64) -> Result<(Wan, Server, Client)> {
    let line = Link::symmetric(Conditions::clean(Rate::mbit(mbit), 100 * MS));
    let wan = lab.link(Abroad::FIRST, line, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let client = lab.connected_client(&server.invite("laptop")?, &Launch::default())?;
    Ok((wan, server, client))
}

#[test]
fn a_cancelled_body_frees_the_line() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let (wan, _server, client) = on_a_slow_line(&lab, 20)?;

    let body = lab.begin(&client)?;
    wait_until("the first body", || Ok(body.bytes() > 8 * MIB))?;
    let at_cancel = crossed(&wan)?;
    drop(body);
    let mut before = at_cancel;
    // Until nothing crosses but pings.
    loop {
        thread::sleep(1000 * MS);
        let now = crossed(&wan)?;
        if now - before < 20_000 {
            break;
        }
        before = now;
    }
    // A round trip and 0.2 s of the line are 1 MB.
    let wasted = before - at_cancel;
    ensure!(wasted < 2 * MIB, "{wasted} bytes of a cancelled body crossed the line");

    let body = lab.begin(&client)?;
    wait_until("the second body", || Ok(body.bytes() > 8 * MIB))?;
    let at_cancel = crossed(&wan)?;
    drop(body);
    let next = lab.begin(&client)?;
    wait_until("the next body", || Ok(next.bytes() > 0))?;
    let waited_for = crossed(&wan)? - at_cancel;
    ensure!(waited_for < 3 * MIB, "{waited_for} bytes crossed the line before the next body");
    Ok(())
}

#[test]
fn what_comes_ahead_of_time_leaves_the_line_to_engines() -> Result<()> {
    let lab = TunnelLab::with(BLOB_MIB, &["--large-image=wan/warm:64MiB"])?;
    let line = Link::symmetric(Conditions::clean(Rate::mbit(20), 100 * MS));
    let wan = lab.link(Abroad::FIRST, line, 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let keeping = Launch::with(&["--cache-size", "1 GB"]);
    let client = lab.connected_client(&server.invite("laptop")?, &keeping)?;

    let started = crossed(&wan)?;
    let _warm = client.start_command_without_link(&["warm", "wan/warm", "--platform", "linux/amd64"])?;
    wait_until("the layer ahead of time", || Ok(crossed(&wan)? - started > 3 * MIB))?;
    let body = lab.begin(&client)?;
    wait_until("the body", || Ok(body.bytes() > MIB))?;
    let before = (crossed(&wan)?, body.bytes());
    wait_until("the body", || Ok(body.bytes() - before.1 > 4 * MIB))?;
    let (all, engines) = (crossed(&wan)? - before.0, body.bytes() - before.1);
    println!("{engines} of {all} bytes were the engine's");
    // The rest are headers, and what was in flight.
    ensure!(engines * 100 > all * 85, "{engines} of {all} bytes were the engine's");
    drop(body);
    let at_cancel = crossed(&wan)?;
    wait_until("the layer goes on", || Ok(crossed(&wan)? - at_cancel > 3 * MIB))
}

#[test]
fn a_second_body_is_carried_beside_the_first() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let (wan, _server, client) = on_a_slow_line(&lab, 5)?;

    let first = lab.begin(&client)?;
    wait_until("the first body", || Ok(first.bytes() > 3 * MIB))?;
    let at_request = crossed(&wan)?;
    let second = lab.begin(&client)?;
    wait_until("the second body", || Ok(second.bytes() > 0))?;
    let waited_for = crossed(&wan)? - at_request;
    // Three round trips and a second of the line are 1 MB.
    ensure!(waited_for < 2 * MIB, "{waited_for} bytes crossed the line before the second body");

    let before = [first.bytes(), second.bytes()];
    // Five seconds of the line.
    wait_until("both bodies", || Ok(first.bytes() + second.bytes() - before[0] - before[1] > 3 * MIB))?;
    let carried = [first.bytes() - before[0], second.bytes() - before[1]];
    ensure!(carried.iter().all(|bytes| *bytes > MIB), "not shared equally: {carried:?}");

    let at_request = crossed(&wan)?;
    let (third, fourth) = (lab.begin(&client)?, lab.begin(&client)?);
    wait_until("the other bodies", || Ok(third.bytes() > 0 && fourth.bytes() > 0))?;
    let waited_for = crossed(&wan)? - at_request;
    ensure!(waited_for < 2 * MIB, "{waited_for} bytes crossed the line before the fourth body");
    Ok(())
}
