//! The `wan` program from a shell.
//! Must never leave a link up: each script ends it, or waits until it has ended.

use std::process::Command;

use anyhow::Result;
use docxy_tests::{
    process::{Finished, run, scratch},
    wan::PRESETS,
};
use serde_json::Value;

use crate::support::test_link::REPLY_TIMEOUT;

#[test]
fn up_runs_a_command_and_returns_its_status() -> Result<()> {
    let finished = script(
        r#""$WAN" up transpacific-5% --quiet -- bash -c '
            "$WAN" ctl set --rtt 10ms --loss none || exit 1
            # Nobody listens there: the refusal is a packet each way.
            ip netns exec "$WAN_LEFT" bash -c "exec 3<>/dev/tcp/$WAN_RIGHT_IP/1" 2>/dev/null && exit 2
            "$WAN" ctl report || exit 3
            "$WAN" ctl set --rate fast 2>/dev/null && exit 4
            exit 7'"#,
    )?;
    assert_eq!(finished.status.code(), Some(7), "{}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout)?;
    assert_eq!(report["link"], "--rtt 10ms --rate 100mbit");
    assert_eq!(report["left_to_right"]["delivered"]["packets"], 1);
    assert_eq!(report["right_to_left"]["delivered"]["packets"], 1);
    Ok(())
}

#[test]
fn without_a_command_the_link_stays_up_until_a_signal() -> Result<()> {
    let finished = script(
        r#""$WAN" up blocked-udp --json report > environment & pid=$!
        for _ in $(seq 500); do grep -q WAN_CONTROL environment && break; sleep 0.02; done
        . ./environment
        ip netns list | grep -q "$WAN_LEFT" || exit 1
        kill -s TERM $pid
        wait $pid || exit 2
        ip netns list | grep -q "$WAN_LEFT" && exit 3
        [ -e "$WAN_CONTROL" ] && exit 4
        cat report"#,
    )?;
    let report: Value = serde_json::from_str(&finished.succeeded()?)?;
    assert_eq!(report["link"], "--rtt 200ms --rate 100mbit --udp blocked");
    Ok(())
}

#[test]
fn list_prints_every_named_link() -> Result<()> {
    let list = script(r#""$WAN" list"#)?.succeeded()?;
    assert!(PRESETS.iter().all(|link| list.contains(link.name)), "{list}");
    Ok(())
}

/// Runs a bash script in a folder of its own.
fn script(text: &str) -> Result<Finished> {
    let folder = scratch()?;
    let mut command = Command::new("bash");
    command.args(["-c", text]).env("WAN", env!("CARGO_BIN_EXE_wan")).current_dir(folder.path());
    run(command, REPLY_TIMEOUT * 3)
}
