//! The processes of a subject, and the transfers between them.
//! Must never leave a process behind: all end with it.

use std::{
    any::Any,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use docxy_tests::process::{PROCESS_TIMEOUT, Process, scratch};
use serde::Serialize;

use crate::{
    peer::{STARTED_LINE, TransferPlan},
    report::reader_report::ReaderReport,
    report::usage::Usage,
    topology::PeerCommand,
};

/// How much longer than planned a reader may run.
const READER_GRACE: Duration = Duration::from_secs(60);

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The stand-in, which has the bytes.
    Source,
    /// Sends over the measured link.
    Server,
    /// Receives from the measured link.
    Client,
    /// Reads from the client.
    Reader,
}

/// Processes that are ready for a transfer.
pub(crate) struct RunningSubject {
    processes: Vec<(Role, u32)>,
    reader: Role,
    call: PeerCommand,
    /// Dropped in this order.
    _owners: Vec<Box<dyn Any>>,
}

/// A transfer in progress.
pub(crate) struct Transfer {
    reader: Process,
    /// When the reader requested the bulk.
    pub(crate) started: Instant,
    seconds: f64,
    before: BTreeMap<Role, Usage>,
    _log: tempfile::TempDir,
}

/// The measurement of one transfer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    #[serde(flatten)]
    pub(crate) report: ReaderReport,
    /// The resources that each process has used.
    pub(crate) cost: BTreeMap<Role, Usage>,
}

impl RunningSubject {
    /// `reader` is the reader's role, and `call` its command without the plan.
    pub(super) fn new(reader: Role, call: PeerCommand) -> Self {
        Self { processes: Vec::new(), reader, call, _owners: Vec::new() }
    }

    /// Measures the resources of the process with this id.
    pub(super) fn with_process(mut self, role: Role, pid: u32) -> Self {
        self.processes.push((role, pid));
        self
    }

    /// Keeps a value alive as long as the processes; values are dropped in the order of these calls.
    pub(super) fn with_owner(mut self, owner: impl Any) -> Self {
        self._owners.push(Box::new(owner));
        self
    }

    /// Starts a reader, and waits until it has requested the bulk.
    pub(crate) fn start_transfer(&self, plan: &TransferPlan) -> Result<Transfer> {
        let log = scratch()?;
        let mut command = self.call.command()?;
        command.args(plan.to_arguments());
        let before = self.usage()?;
        let mut reader = Process::spawn("reader", command, log.path())?;
        reader.wait_for("start", PROCESS_TIMEOUT, |reader| {
            Ok(reader.output().contains(STARTED_LINE).then_some(()))
        })?;
        Ok(Transfer { reader, started: Instant::now(), seconds: plan.seconds, before, _log: log })
    }

    /// Waits until the reader has ended.
    pub(crate) fn finish(&self, mut transfer: Transfer) -> Result<Measurement> {
        let timeout = Duration::from_secs_f64(transfer.seconds) + READER_GRACE;
        transfer.reader.wait_until_ended(timeout)?;
        let log = transfer.reader.output();
        let line = log.lines().find(|line| line.starts_with('{'));
        let report: ReaderReport =
            serde_json::from_str(line.with_context(|| format!("the reader failed:\n{log}"))?)?;
        let mut cost: BTreeMap<Role, Usage> = self
            .usage()?
            .into_iter()
            .map(|(role, after)| (role, transfer.before.get(&role).map_or(after, |before| after - *before)))
            .collect();
        cost.insert(self.reader, report.usage);
        Ok(Measurement { report, cost })
    }

    /// Runs a full transfer.
    pub(crate) fn measure(&self, plan: &TransferPlan) -> Result<Measurement> {
        self.finish(self.start_transfer(plan)?)
    }

    /// The resources that all processes but the reader have used so far.
    pub(crate) fn usage(&self) -> Result<BTreeMap<Role, Usage>> {
        self.processes.iter().map(|(role, pid)| Ok((*role, Usage::of(*pid)?))).collect()
    }
}

impl Measurement {
    /// Processor seconds of a process per gigabyte that reached the reader. NaN if there is no such process.
    pub(crate) fn cpu_per_gb(&self, role: Role) -> f64 {
        let cpu = self.cost.get(&role).map_or(f64::NAN, |usage| usage.cpu);
        cpu * 1e9 / self.report.bytes as f64
    }

    /// Peak memory of a process in MiB. NaN if there is no such process.
    pub(crate) fn rss_mib(&self, role: Role) -> f64 {
        self.cost.get(&role).map_or(f64::NAN, |usage| usage.peak_rss as f64 / f64::from(1 << 20))
    }
}
