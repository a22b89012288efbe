//! The report of a link, as a value for assertions, as JSON, and as a few lines of text.
//! Must never be made while holding a lock that the link needs to run.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::wan::{link::counters::Counters, packets::lateness_histogram::LatenessSummary};

/// Everything that a link has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The link's conditions now, as command-line options.
    pub link: String,
    /// The seed of the random numbers.
    pub seed: u64,
    /// How long the link has been up.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub age: Duration,
    /// Processor time that the emulator has used, the receiving ends' network stack included.
    #[serde(rename = "cpu_seconds", serialize_with = "seconds")]
    pub cpu: Duration,
    /// Packets that the left end sent.
    pub left_to_right: DirectionReport,
    /// Packets that the right end sent.
    pub right_to_left: DirectionReport,
}

/// The report of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DirectionReport {
    /// Counters of the packets.
    #[serde(flatten)]
    pub counters: Counters,
    /// The most bytes that were queued at once.
    pub peak_queue: u64,
    /// Packets that the sender's kernel dropped before the emulator read them; they do not count as offered. If
    /// this is not zero, the machine is too slow for this link.
    pub overrun: u64,
    /// How late packets were delivered.
    pub late: LatenessSummary,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} --seed {}", self.link, self.seed)?;
        writeln!(out, "left to right: {}", self.left_to_right)?;
        writeln!(out, "right to left: {}", self.right_to_left)?;
        write!(out, "up {:.1} s, processor {:.2} s", self.age.as_secs_f64(), self.cpu.as_secs_f64())
    }
}

impl Display for DirectionReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { offered, delivered, delivered_tcp, dropped } = self.counters;
        let [offered, delivered, tcp] = [offered, delivered, delivered_tcp].map(|traffic| traffic.packets);
        write!(out, "{delivered} of {offered} packets delivered, {tcp} of them TCP")?;
        for (cause, traffic) in dropped.by_cause().into_iter().filter(|(_, traffic)| traffic.packets > 0) {
            write!(out, ", {cause} {}", traffic.packets)?;
        }
        write!(out, "; queue at most {} bytes", self.peak_queue)?;
        let LatenessSummary { mean_us, p99_us, max_us } = self.late;
        write!(out, "; late by {mean_us} µs, 99 % below {p99_us}, at most {max_us}")?;
        if self.overrun > 0 {
            write!(out, "; OVERRUN {}", self.overrun)?;
        }
        Ok(())
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
