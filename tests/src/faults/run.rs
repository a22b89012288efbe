//! One pull with a fault, from beginning to end.
//! Must never accept a pull that is incomplete, or that the engine had to retry.

use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail, ensure};

use super::{
    EngineKind, Fault,
    fault_run::{FaultRun, PULL_TIMEOUT},
    inject,
    testbed::Testbed,
};
use crate::{docxy::content_bytes, wan::Direction};

/// The outcome of a pull.
#[derive(Debug)]
pub struct Outcome {
    /// Duration in seconds, the fault included.
    pub seconds: f64,
    /// Content bytes that crossed the link in addition to the image's own, with an error of a few hundred thousand.
    pub extra_bytes: i64,
    /// Why the pull failed.
    pub failure: Option<String>,
    /// The logs of all processes, by name.
    pub logs: Vec<(&'static str, String)>,
}

impl Outcome {
    fn failed(error: &Error, logs: Vec<(&'static str, String)>) -> Self {
        Self { seconds: f64::NAN, extra_bytes: 0, failure: Some(format!("{error:#}")), logs }
    }
}

impl Testbed {
    /// One pull with this fault.
    pub fn run(&self, fault: Fault, engine: EngineKind, seed: u64) -> Outcome {
        match FaultRun::new(self, fault, engine, seed) {
            Ok(run) => run.run(),
            Err(error) => Outcome::failed(&error.context("cannot set up the pull"), Vec::new()),
        }
    }
}

impl FaultRun<'_> {
    fn run(mut self) -> Outcome {
        let before = self.wan.counters(Direction::RightToLeft);
        let pulled = self.pull_through_fault();
        let crossed = content_bytes(before, self.wan.counters(Direction::RightToLeft));
        // Prepares the stand-in for the next pull; this pull's result is known.
        let reset = self.testbed.hub.reset_faults();
        match pulled.and_then(|taken| reset.map(|()| taken)) {
            Ok(taken) => Outcome {
                seconds: taken.as_secs_f64(),
                extra_bytes: crossed as i64 - self.content.bytes as i64,
                failure: None,
                logs: self.logs(),
            },
            Err(error) => Outcome::failed(&error, self.logs()),
        }
    }

    fn pull_through_fault(&mut self) -> Result<Duration> {
        inject::arm(self)?;
        let started = Instant::now();
        let mut pull = self.pull()?;
        if inject::is_mid_pull(self.fault) {
            self.wait_for_mid_pull(&mut pull)?;
            pull = inject::inject(self, pull)?;
        }
        let status = pull.wait_until_ended(PULL_TIMEOUT)?;
        let taken = started.elapsed();
        let output = pull.output();
        ensure!(
            status.success(),
            "the pull ended with {status}: {}",
            output.lines().last().unwrap_or_default()
        );
        let pulled = self.engine.pulled(self.content.repository)?;
        ensure!(pulled == self.content.expected, "pulled {pulled:?} instead of {:?}", self.content.expected);
        inject::ensure_injected(self)?;
        // An interrupted engine may report the interruption.
        if self.fault != Fault::Cancel
            && let Some(line) = self.engine.retry_message(&output)
        {
            bail!("the engine had to retry: {line}");
        }
        Ok(taken)
    }
}
