//! What a running program holds at the moment, as the kernel and the program itself count it: equal before and after
//! a rush, or something leaks.
//! Must never hold what may rightly differ from one moment to the next, such as memory.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{Client, Server};
use crate::process::{PATIENCE, Process};

/// What a program holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Open descriptors: sockets, files and all.
    pub descriptors: usize,
    /// Those of them that are connections by TCP: of a server to registries, of a client from engines.
    pub tcp: usize,
    /// Threads.
    pub threads: usize,
    /// What the program itself counts, by the name that it has for it.
    pub counts: BTreeMap<String, u64>,
}

impl Footprint {
    fn new(process: &Process, counts: BTreeMap<String, u64>) -> Result<Self> {
        let (descriptors, tcp) = (process.descriptors()?, process.connections()?);
        Ok(Self { descriptors, tcp, threads: process.threads()?, counts })
    }

    /// One of the program's own counts; 0 for one that it doesn't have at the moment.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

impl Server {
    /// What it holds, by `SIGUSR1`.
    pub fn footprint(&mut self) -> Result<Footprint> {
        const SAID: &str = " under way ";
        let process = self.process();
        let before = process.log().matches(SAID).count();
        process.signal("USR1")?;
        let line = process.wait_for("say what is under way", PATIENCE, |process| {
            Ok(process.log().lines().filter(|line| line.contains(SAID)).nth(before).map(str::to_owned))
        })?;
        let (_, fields) = line.split_once(SAID).context("it was found by that")?;
        let field = |field: &str| {
            let (name, number) = field.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        Footprint::new(process, fields.split(' ').filter_map(field).collect())
    }
}

impl Client {
    /// What it holds, by `/health`.
    pub fn footprint(&mut self) -> Result<Footprint> {
        // First, or the connection by which it is asked would be among them.
        let kernel = Footprint::new(self.process(), BTreeMap::new())?;
        let health = self.health()?;
        let counts = ["requests", "segments", "tasks", "waiting"].into_iter();
        let counts = counts.filter_map(|name| Some((name.to_owned(), health[name].as_u64()?)));
        Ok(Footprint { counts: counts.collect(), ..kernel })
    }

    /// Waits until what `/health` says is as wished, and returns it.
    pub fn wait_for_health(
        &mut self,
        what: &str,
        timeout: Duration,
        wished: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let address = self.address();
        self.process().wait_for(what, timeout, |_| {
            let health = health(address)?;
            Ok(wished(&health).then_some(health))
        })
    }

    /// What `/health` says.
    pub fn health(&self) -> Result<Value> {
        health(self.address())
    }
}

fn health(address: SocketAddr) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    Ok(serde_json::from_str(body)?)
}
