//! What the figures were measured on, so that they can be compared later.
//! Must never fail a bench: what cannot be found out is left open.

use std::{fs, thread};

use serde::Serialize;

/// A machine, in a few words.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// Processes that were running or ready when the bench began, averaged over a minute: more than a little means
    /// that something else used the machine.
    load: String,
}

impl Machine {
    /// This one.
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
        write!(out, "{processor}, {cores} cores, Linux {kernel}, load {load} at the beginning")
    }
}
