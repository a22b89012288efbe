//! All measurements of `bench local`, and their table.
//! Must never compare single runs: every figure is a median, and every ratio is of medians.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    thread,
};

use docxy_tests::{
    statistics::{max, median, min},
    table::{Table, number},
};
use serde::Serialize;

use crate::subject::{Measurement, Role};

/// The subject that all others are compared with.
const REFERENCE: &str = "raw-quic";

/// One hop of TLS over TCP, and one of TCP alone: the hops of the product beside its tunnel.
const TLS_HOP: &str = "tls";
const TCP_HOP: &str = "tcp";

const LEGEND: &str = "\
MB/s: 10^6 bytes per second at the reader, median (lowest-highest)    x raw: ratio to raw-quic
bound: MB/s at which the processes together would use all cores, the maximum on this machine
CPU: processor seconds per GB (10^9 bytes) of each process    both: server and client    RSS: peak, MiB
ours-quic = source -TLS-> docxy-server -QUIC-> docxy-client -HTTP-> reader; ours-tcp = the same with TLS over TCP;
raw-quic, tls and tcp are one hop alone; direct = source -TLS-> reader; nginx = source -TLS-> nginx -HTTP-> reader.
bare hops = the cost of ours' hops alone: server = TLS client + sender, client = receiver + TCP server.";

/// The measurements of each subject.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Results {
    by_subject: BTreeMap<&'static str, Vec<Measurement>>,
    /// The subjects in the order of their first measurement.
    #[serde(skip)]
    order: Vec<&'static str>,
}

impl Results {
    pub(super) fn add(&mut self, subject: &'static str, measured: Measurement) {
        if !self.by_subject.contains_key(subject) {
            self.order.push(subject);
        }
        self.by_subject.entry(subject).or_default().push(measured);
    }

    fn of(&self, subject: &str, value: impl Fn(&Measurement) -> f64) -> impl Iterator<Item = f64> {
        self.by_subject.get(subject).into_iter().flatten().map(value)
    }

    fn speed(&self, subject: &str) -> f64 {
        median(self.of(subject, speed))
    }

    fn cpu(&self, subject: &str, role: Role) -> f64 {
        median(self.of(subject, |measured| measured.cpu_per_gb(role)))
    }

    /// Of server and client together.
    pub(crate) fn cpu_of_both(&self, subject: &str) -> f64 {
        median(self.of(subject, |m| m.cpu_per_gb(Role::Server) + m.cpu_per_gb(Role::Client)))
    }

    fn row(&self, subject: &str) -> [String; 11] {
        let cpu = |role| number(self.cpu(subject, role), 2);
        let rss = |role| number(median(self.of(subject, |measured| measured.rss_mib(role))), 0);
        let (lowest, highest) = (min(self.of(subject, speed)), max(self.of(subject, speed)));
        [
            subject.to_owned(),
            format!("{:.0} ({lowest:.0}-{highest:.0})", self.speed(subject)),
            number(self.speed(subject) / self.speed(REFERENCE), 2),
            number(median(self.of(subject, bound)), 0),
            cpu(Role::Source),
            cpu(Role::Server),
            cpu(Role::Client),
            cpu(Role::Reader),
            number(self.cpu_of_both(subject) / self.cpu_of_both(REFERENCE), 2),
            rss(Role::Server),
            rss(Role::Client),
        ]
    }

    /// The cost of our hops alone, with this one as the tunnel.
    fn bare_hops(&self, tunnel: &str) -> [String; 9] {
        let server = self.cpu(TLS_HOP, Role::Client) + self.cpu(tunnel, Role::Server);
        let client = self.cpu(tunnel, Role::Client) + self.cpu(TCP_HOP, Role::Server);
        let (source, reader) = (self.cpu(TLS_HOP, Role::Server), self.cpu(TCP_HOP, Role::Client));
        [
            format!("bare hops, {tunnel}"),
            String::new(),
            String::new(),
            number(cores() / (source + server + client + reader) * 1e3, 0),
            number(source, 2),
            number(server, 2),
            number(client, 2),
            number(reader, 2),
            number((server + client) / self.cpu_of_both(REFERENCE), 2),
        ]
    }
}

impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "subject",
            "MB/s",
            "x raw",
            "bound",
            "CPU source",
            "server",
            "client",
            "reader",
            "both x raw",
            "RSS server",
            "client",
        ]);
        self.order.iter().for_each(|subject| table.row(self.row(subject)));
        for tunnel in [REFERENCE, TLS_HOP] {
            table.row(self.bare_hops(tunnel));
        }
        write!(out, "{table}\n{LEGEND}")
    }
}

/// MB/s at the reader.
fn speed(measured: &Measurement) -> f64 {
    measured.report.overall() / 8e6
}

fn bound(measured: &Measurement) -> f64 {
    let all: f64 = measured.cost.keys().map(|role| measured.cpu_per_gb(*role)).sum();
    cores() / all * 1e3
}

fn cores() -> f64 {
    thread::available_parallelism().map_or(1, usize::from) as f64
}
