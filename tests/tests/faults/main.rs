//! Three rungs of the fault ladder on real engines; `scripts/faults` climbs all of it, and `traps` has a short form of
//! the others. Needs root, iproute2 and Debian's engines.
//! Must never run two pulls at once: the link's emulator and the engines want the machine for themselves.

use std::sync::{Mutex, PoisonError};

use docxy_tests::faults::{EngineKind, Fault, Stage, StageOptions};

/// An engine pulls four layers, and must not notice `fault`, but for the time.
fn goes_unnoticed(fault: Fault, engine: EngineKind) {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed says nothing about the next one.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(StageOptions { mib: 64, hasty: true });
    let stage = stage.unwrap_or_else(|error| panic!("there is no world to test in: {error:?}"));
    let outcome = stage.play(fault, engine, 1);
    if let Some(why) = outcome.failure {
        let logs: String =
            outcome.logs.iter().map(|(name, log)| format!("--- {name} ---\n{log}\n")).collect();
        panic!("{why}\n{logs}");
    }
    println!("{} with {}: {} bytes crossed twice", fault.name(), engine.name(), outcome.twice);
}

#[test]
fn docker_does_not_notice_a_server_that_is_killed_and_comes_back() {
    goes_unnoticed(Fault::ServerKilled, EngineKind::Docker);
}

#[test]
fn podman_does_not_notice_that_its_ports_are_blocked() {
    goes_unnoticed(Fault::NewPortOnly, EngineKind::Podman);
}

#[test]
fn docker_does_not_notice_a_token_that_expires() {
    goes_unnoticed(Fault::ExpiredToken, EngineKind::Docker);
}
