//! Three rungs of the fault ladder on real engines; `scripts/faults` climbs all of it, and `traps` has a short form of
//! the others. Needs root, iproute2 and Debian's engines.
//! Must never run two pulls at once: the link's emulator and the engines want the machine for themselves.

use std::sync::{Mutex, PoisonError};

use docxy_tests::faults::{EngineKind, Fault, Testbed, TestbedOptions};

/// An engine pulls four layers, and must not notice `fault`, but for the time.
fn survives(fault: Fault, engine: EngineKind) {
    static SERIAL: Mutex<()> = Mutex::new(());
    // A test that failed says nothing about the next one.
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let testbed = Testbed::new(TestbedOptions { mib: 64, short_delays: true });
    let testbed = testbed.unwrap_or_else(|error| panic!("there is no world to test in: {error:?}"));
    let outcome = testbed.run(fault, engine, 1);
    if let Some(why) = outcome.failure {
        let logs: String =
            outcome.logs.iter().map(|(name, log)| format!("--- {name} ---\n{log}\n")).collect();
        panic!("{why}\n{logs}");
    }
    println!("{} with {}: {} bytes crossed extra_bytes", fault.name(), engine.name(), outcome.extra_bytes);
}

#[test]
fn docker_does_not_notice_a_server_that_is_killed_and_comes_back() {
    survives(Fault::ServerKilled, EngineKind::Docker);
}

#[test]
fn podman_does_not_notice_that_its_ports_are_blocked() {
    survives(Fault::NewPortOnly, EngineKind::Podman);
}

#[test]
fn docker_does_not_notice_a_token_that_expires() {
    survives(Fault::ExpiredToken, EngineKind::Docker);
}
