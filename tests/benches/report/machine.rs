//! A description of the machine, so that figures can be compared later.
//! Must never fail a bench: unknown values stay empty.

use std::{fs, thread};

use serde::Serialize;

/// The machine on which a bench runs.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// The load average over the last minute when the bench started. If it is high, something else used the
    /// machine.
    load: String,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let word = |text: &str, at: usize| text.split_whitespace().nth(at).unwrap_or("?").to_owned();
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: model.map_or("?", |(_, model)| model).to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: word(&read("/proc/sys/kernel/osrelease"), 0),
            load: word(&read("/proc/loadavg"), 0),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, kernel, load } = self;
        write!(out, "{processor}, {cores} cores, Linux {kernel}, load {load} at the start")
    }
}
