//! Measures a reader: the bytes that arrive over time, and small requests beside the bulk.
//! Must never slow the reader down, except for a planned pause.

use std::{
    io::{Write as _, stdout},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use tokio::time::{Instant, interval_at, sleep, timeout_at};

use crate::{
    report::reader_report::{ReaderReport, SAMPLE_INTERVAL},
    report::usage::Usage,
};

/// How much a reader reads, and when.
#[derive(Args, Clone, Debug)]
pub(crate) struct TransferPlan {
    /// Stop after this number of bytes
    #[arg(long, default_value_t = u64::MAX)]
    pub(crate) bytes: u64,
    /// Stop after this number of seconds
    #[arg(long, default_value_t = 600.0)]
    pub(crate) seconds: f64,
    /// Seconds between two small requests; 0 sends none
    #[arg(long, default_value_t = 0.0)]
    pub(crate) small_every: f64,
    /// When to pause reading, in seconds from the start
    #[arg(long, default_value_t = f64::INFINITY)]
    pub(crate) pause_at: f64,
    /// The length of the pause, in seconds
    #[arg(long, default_value_t = 0.0)]
    pub(crate) pause_for: f64,
}

impl TransferPlan {
    /// Reads this number of bytes as fast as possible.
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes, seconds: 600.0, small_every: 0.0, pause_at: f64::INFINITY, pause_for: 0.0 }
    }

    /// Reads for this number of seconds.
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self { seconds, ..Self::bytes(u64::MAX) }
    }

    /// The plan as command-line arguments.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let Self { bytes, seconds, small_every, pause_at, pause_for } = self;
        vec![
            format!("--bytes={bytes}"),
            format!("--seconds={seconds}"),
            format!("--small-every={small_every}"),
            format!("--pause-at={pause_at}"),
            format!("--pause-for={pause_for}"),
        ]
    }
}

/// A running measurement.
pub(super) struct Meter {
    plan: TransferPlan,
    started: Instant,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    bytes: u64,
    series: Vec<u64>,
    paused: bool,
}

impl Meter {
    /// Starts the clock, and prints the line for the process that waits for it.
    pub(super) fn start(plan: TransferPlan) -> Result<Arc<Self>> {
        writeln!(stdout(), "{}", super::STARTED_LINE)?;
        Ok(Arc::new(Self { plan, started: Instant::now(), count: Mutex::default() }))
    }

    /// Counts bytes that have arrived, and pauses when planned. Returns whether to read on.
    pub(super) async fn record(&self, bytes: usize) -> bool {
        let elapsed = self.started.elapsed();
        let (more, pause) = {
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            count.add(elapsed, bytes as u64);
            let pause = !count.paused && elapsed.as_secs_f64() >= self.plan.pause_at;
            count.paused |= pause;
            (count.bytes < self.plan.bytes, pause)
        };
        if pause {
            sleep(Duration::from_secs_f64(self.plan.pause_for)).await;
        }
        more
    }

    /// Runs the bulk reader until it ends or its time is over, with small requests beside it.
    pub(super) async fn measure(
        &self,
        bulk: impl Future<Output = Result<()>> + Send + 'static,
        small: impl AsyncFnMut() -> Result<()>,
    ) -> Result<ReaderReport> {
        // On a worker thread, as the product's own readers.
        let mut bulk = tokio::spawn(bulk);
        let deadline = self.started + Duration::from_secs_f64(self.plan.seconds);
        let mut round_trips = Vec::new();
        let outcome = tokio::select! {
            biased;
            ended = timeout_at(deadline, &mut bulk) => match ended {
                Ok(outcome) => outcome?,
                Err(_) => Ok(()),
            },
            failed = self.run_probes(small, &mut round_trips) => failed.context("a small request"),
        };
        let seconds = self.started.elapsed().as_secs_f64().min(self.plan.seconds);
        bulk.abort();
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.add(self.started.elapsed(), 0);
        Ok(ReaderReport {
            series: std::mem::take(&mut count.series),
            bytes: count.bytes,
            seconds,
            small: round_trips,
            error: outcome.err().map(|error| format!("{error:#}")),
            usage: Usage::own()?,
        })
    }

    /// Ends only with an error.
    async fn run_probes(
        &self,
        mut probe: impl AsyncFnMut() -> Result<()>,
        round_trips: &mut Vec<f64>,
    ) -> Result<()> {
        if self.plan.small_every == 0.0 {
            return std::future::pending().await;
        }
        let every = Duration::from_secs_f64(self.plan.small_every);
        let mut ticks = interval_at(self.started + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sent = Instant::now();
            probe().await?;
            round_trips.push(sent.elapsed().as_secs_f64());
        }
    }
}

impl Count {
    fn add(&mut self, elapsed: Duration, bytes: u64) {
        let ticks = elapsed.as_millis() / SAMPLE_INTERVAL.as_millis();
        while (self.series.len() as u128) < ticks {
            self.series.push(self.bytes);
        }
        self.bytes += bytes;
    }
}
