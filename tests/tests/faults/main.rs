//! Some faults of the fault ladder on real engines. `scripts/faults` runs the full ladder, and the end-to-end
//! suite has short forms of the others. Needs root, iproute2 and Debian's engines.
//! Must never run two pulls at once: the link emulator and the engines need the machine for themselves.

use std::sync::{Mutex, PoisonError};

use docxy_tests::faults::{EngineKind, Fault, Testbed, TestbedOptions};

/// An engine pulls four layers while `fault` happens, and must not need a retry.
fn survives(fault: Fault, engine: EngineKind) {
    static SERIAL: Mutex<()> = Mutex::new(());
    // A failed test does not affect the next one.
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let testbed = Testbed::new(TestbedOptions { mib: 64, short_delays: true });
    let testbed = testbed.unwrap_or_else(|error| panic!("cannot set up the testbed: {error:?}"));
    let outcome = testbed.run(fault, engine, 1);
    if let Some(why) = outcome.failure {
        let logs: String =
            outcome.logs.iter().map(|(name, log)| format!("--- {name} ---\n{log}\n")).collect();
        panic!("{why}\n{logs}");
    }
    println!("{} with {}: {} extra bytes crossed the link", fault.name(), engine.name(), outcome.extra_bytes);
}

#[test]
fn docker_does_not_notice_a_killed_and_restarted_server() {
    survives(Fault::ServerKilled, EngineKind::Docker);
}

#[test]
fn docker_does_not_notice_three_restarts_of_the_server() {
    survives(Fault::Restart, EngineKind::Docker);
}

#[test]
fn podman_does_not_notice_three_restarts_of_the_server() {
    survives(Fault::Restart, EngineKind::Podman);
}

#[test]
fn podman_does_not_notice_blocked_ports() {
    survives(Fault::NewPortOnly, EngineKind::Podman);
}

#[test]
fn docker_does_not_notice_an_expired_token() {
    survives(Fault::ExpiredToken, EngineKind::Docker);
}
