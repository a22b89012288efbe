//! What is to be done after the start of a server that no client has reached yet: the link, the firewall, the test.
//!
//! Must never keep the server from serving: a terminal may block.

use super::error::CommandError;
use crate::state::{State, usage};
use docxy_host::process::terminal::Stream;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The steps, in order; none once a client was connected.
pub(super) fn next_steps(state: &State, listening: &[SocketAddr]) -> Result<Vec<String>, CommandError> {
    if usage::totals(state)?.values().any(|total| total.last_seen.is_some()) {
        return Ok(Vec::new());
    }
    let ports: BTreeSet<_> = listening.iter().map(|address| address.port().to_string()).collect();
    let allow: Vec<_> = ports.iter().map(|port| format!("sudo ufw allow {port}")).collect();
    let (ports, allow) = (Vec::from_iter(ports).join(", "), allow.join("; "));
    let link = if state.clients()?.is_empty() {
        "make a link for the machine that pulls (docxy-server invite NAME), and give it to docxy-client join there"
    } else {
        "give the link to docxy-client join on the machine that pulls; docxy-server invite NAME makes one for each other"
    };
    Ok(vec![
        link.to_owned(),
        format!(
            "open UDP and TCP port {ports} in the firewall of this machine (with ufw: {allow}), and in your cloud's firewall or \
             security group"
        ),
        "test it on the machine that pulls: docxy-client doctor".to_owned(),
    ])
}

/// Shows them on the terminal, or else in the log.
pub(super) fn show(steps: &[String], is_terminal: bool) {
    let lines: String = (1..).zip(steps).map(|(n, step)| format!("{n}. {step}\n")).collect();
    if steps.is_empty() || (is_terminal && Stream::Stdout.write(&format!("\nNext:\n{lines}\n")).is_ok()) {
        return;
    }
    for (n, step) in (1..).zip(steps) {
        tracing::info!("next, {n} of {}: {step}", steps.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Usage;
    use jiff::Timestamp;

    #[tokio::test]
    async fn the_steps_name_the_ports_until_a_client_was_connected() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let listening = ["0.0.0.0:443", "[::]:61443", "[::1]:443"].map(|address| address.parse().unwrap());
        let steps = next_steps(&state, &listening).unwrap();
        assert!(steps[0].contains("docxy-server invite"), "{steps:?}");
        assert!(steps[1].contains("port 443, 61443 in") && steps[1].contains("sudo ufw allow 443; sudo ufw"));
        assert!(steps[2].ends_with("docxy-client doctor"), "{steps:?}");
        let usage = Usage::open(&state).unwrap();
        usage.client(&"laptop".parse().unwrap()).seen(Timestamp::UNIX_EPOCH);
        usage.flush().unwrap();
        assert!(next_steps(&state, &listening).unwrap().is_empty());
    }
}
