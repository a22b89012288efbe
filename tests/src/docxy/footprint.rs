//! The resources that a running program holds, counted by the kernel and by the program: equal before and after a
//! burst, or something leaks.
//! Must never contain a value that may differ between two idle moments, such as memory.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::{Client, Server};
use crate::process::Process;

/// The resources of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Open descriptors: sockets, files and all others.
    pub descriptors: usize,
    /// Those of them that are TCP connections: of a server to registries, of a client from engines.
    pub tcp: usize,
    /// Threads.
    pub threads: usize,
    /// The program's own counts, by their names in its report.
    pub counts: BTreeMap<String, u64>,
}

impl Footprint {
    /// The kernel's counts. Must be taken before the program's, whose report takes a connection or a file; and the
    /// connection of an earlier report may still be closing, so they are taken until they stay the same.
    fn of_kernel(process: &Process) -> Result<Self> {
        const MAX_SAMPLES: usize = 10;
        const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
        let sample = || -> Result<_> {
            let (descriptors, tcp) = (process.descriptors()?, process.connections()?);
            Ok(Self { descriptors, tcp, threads: process.threads()?, counts: BTreeMap::new() })
        };
        let mut last = sample()?;
        for _ in 1..MAX_SAMPLES {
            thread::sleep(SAMPLE_INTERVAL);
            let next = sample()?;
            if next == last {
                break;
            }
            last = next;
        }
        Ok(last)
    }

    fn with_counts(mut self, report: &Value, names: &[&str]) -> Self {
        let count = |name: &&str| Some(((*name).to_owned(), report[name].as_u64()?));
        self.counts = names.iter().filter_map(count).collect();
        self
    }

    /// One of the program's own counts; 0 if the report has none of this name.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

impl Server {
    /// Its resources.
    pub fn footprint(&mut self) -> Result<Footprint> {
        const COUNTS: [&str; 6] =
            ["connections", "unauthenticated", "streams", "exchanges", "waiting", "tasks"];
        let kernel = Footprint::of_kernel(self.process())?;
        Ok(kernel.with_counts(&self.status()?, &COUNTS))
    }
}

impl Client {
    /// Its resources.
    pub fn footprint(&mut self) -> Result<Footprint> {
        let kernel = Footprint::of_kernel(self.process())?;
        Ok(kernel.with_counts(&self.health()?, &["requests", "segments", "tasks", "waiting"]))
    }
}
