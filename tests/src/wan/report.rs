//! What a link has done, as a value: for assertions, for JSON, and as a few lines for people.
//! Must never be made while a lock is held that the link needs to run.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use serde::{Serialize, Serializer};

use super::{Counters, LatenessSummary};

/// A link's account of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Its conditions now, as one would write them on the command line.
    pub link: String,
    /// What its rng were seeded with.
    pub seed: u64,
    /// How long it has been up.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub age: Duration,
    /// Processor time that the emulator has used, the receiving ends' network stack included.
    #[serde(rename = "cpu_seconds", serialize_with = "seconds")]
    pub cpu: Duration,
    /// What the left end sent.
    pub left_to_right: DirectionReport,
    /// What the right end sent.
    pub right_to_left: DirectionReport,
}

/// One direction's account.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DirectionReport {
    /// What became of the packets.
    #[serde(flatten)]
    pub counters: Counters,
    /// The most bytes that were queued at once.
    pub peak_queue: u64,
    /// Packets that the sender's kernel dropped before the emulator saw them: not among those offered. Not zero means
    /// that the machine is too slow for this link.
    pub overrun: u64,
    /// How much too late packets were delivered.
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
        let Counters { offered, delivered, dropped } = self.counters;
        write!(out, "{} of {} packets delivered", delivered.packets, offered.packets)?;
        let causes = [
            ("outage", dropped.outage),
            ("udp blocked", dropped.udp_blocked),
            ("flow blocked", dropped.flow_blocked),
            ("policed", dropped.policed),
            ("lost", dropped.lost),
            ("queue full", dropped.queue_full),
            ("refused", dropped.refused),
        ];
        for (cause, traffic) in causes.into_iter().filter(|(_, traffic)| traffic.packets > 0) {
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
