//! What the running programs report about themselves: the client on `/health`, the server in its status file.
//! Must never read a log: its texts are for people, and change.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Client, Server};
use crate::{
    net::{Namespace, command_in},
    process::{PROCESS_TIMEOUT, run},
};

/// Time between two requests for a report.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Server {
    /// Its status at this moment: it writes one at `SIGUSR1`.
    pub fn status(&mut self) -> Result<Value> {
        let file = self.status_file();
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let process = self.process();
        process.signal("USR1")?;
        process.wait_for("write its status", PROCESS_TIMEOUT, |_| {
            // It appears as a whole.
            let status = file.exists().then(|| fs::read(&file)).transpose()?;
            Ok(status.map(|status| serde_json::from_slice(&status)).transpose()?)
        })
    }

    /// Waits for a status that `is_expected`. Returns it.
    pub fn wait_for_status(
        &mut self,
        what: &str,
        timeout: Duration,
        is_expected: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.status()?;
            if is_expected(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the server did not {what} within {timeout:?}: {status:#}");
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub(super) fn status_file(&self) -> PathBuf {
        self.program.path(super::server::STATUS_FILE)
    }
}

impl Client {
    /// What `/health` reports.
    pub fn health(&self) -> Result<Value> {
        health(self.program.namespace.as_ref(), self.address())
    }

    /// Waits for a `/health` that `is_expected`. Returns it.
    pub fn wait_for_health(
        &mut self,
        what: &str,
        timeout: Duration,
        is_expected: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let (address, namespace) = (self.address(), self.program.namespace.clone());
        self.process().wait_for(what, timeout, |_| {
            let health = health(namespace.as_ref(), address)?;
            Ok(is_expected(&health).then_some(health))
        })
    }

    /// Waits until the tunnel is up and the server has accepted it: `/health` reports the tunnel as up a round trip
    /// before that.
    pub fn wait_until_up(&mut self, timeout: Duration) -> Result<()> {
        let is_up = |health: &Value| {
            health["tunnel"] == "up" && count(health, "tunnel/connects").is_ok_and(|connects| connects > 0)
        };
        self.wait_for_health("connect", timeout, is_up).map(drop)
    }

    /// A count of events since the start, such as `tunnel/connects`.
    pub fn count(&self, name: &str) -> Result<u64> {
        count(&self.health()?, name)
    }

    /// Waits until there have been at least this many events.
    pub fn wait_for_count(&mut self, name: &str, at_least: u64, timeout: Duration) -> Result<()> {
        let what = format!("have {at_least} {name}");
        let reached = |health: &Value| count(health, name).is_ok_and(|count| count >= at_least);
        self.wait_for_health(&what, timeout, reached).map(drop)
    }
}

/// One of the counts of a report.
pub fn count(report: &Value, name: &str) -> Result<u64> {
    let count = report.pointer(&format!("/since_start/{name}")).and_then(Value::as_u64);
    count.with_context(|| format!("no count {name} in {report:#}"))
}

/// The exchanges of all operations but pings that have ended, by a server's status.
pub fn exchanges_ended(status: &Value) -> u64 {
    let operations = status["since_start"]["exchanges"].as_object();
    let others = operations.into_iter().flatten().filter(|(operation, _)| *operation != "ping");
    let outcomes = others.flat_map(|(_, outcomes)| outcomes.as_object().into_iter().flatten());
    outcomes.filter_map(|(_, count)| count.as_u64()).sum()
}

/// The exchanges of all operations with this outcome (`answered`, `failed`, `cancelled`), by a server's status.
pub fn exchanges_with(status: &Value, outcome: &str) -> u64 {
    let operations = status["since_start"]["exchanges"].as_object();
    operations.into_iter().flatten().filter_map(|(_, outcomes)| outcomes[outcome].as_u64()).sum()
}

fn health(namespace: Option<&Namespace>, address: SocketAddr) -> Result<Value> {
    if namespace.is_some() {
        let mut curl = command_in(namespace, "curl");
        curl.args(["--silent", "--show-error", &format!("http://{address}/health")]);
        return Ok(serde_json::from_str(&run(curl, PROCESS_TIMEOUT)?.succeeded()?)?);
    }
    let mut stream = TcpStream::connect(address)?;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (_, body) = response.split_once("\r\n\r\n").with_context(|| format!("no response: {response:?}"))?;
    Ok(serde_json::from_str(body)?)
}
