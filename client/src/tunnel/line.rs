//! What the line to the servers is like, each second: for `/metrics`, and for graphs of the last minutes.
//!
//! Only measures. Must never keep a session from its end, so it holds none.

use super::Tunnel;
use docxy_host::metrics::BUSY_BYTES_MIN;
use docxy_transport::Leg;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The samples that are kept: ten minutes.
const SAMPLES_MAX: usize = 600;

/// The line at one moment. As JSON, for the page.
#[derive(Debug, Clone, Serialize)]
pub struct LineSample {
    /// When it was measured.
    pub at: Timestamp,
    /// The leg in use, while a server is connected. The next two are of it.
    pub leg: Option<Leg>,
    /// The estimated round-trip time in milliseconds.
    pub rtt_ms: Option<u64>,
    /// The share of what the server sent lately that was lost since it sent too much, if the server says so.
    pub loss: Option<f64>,
    /// Bytes per second from all servers, with the legs' headers.
    pub received_per_second: u64,
    /// The same to them.
    pub sent_per_second: u64,
}

/// The last samples, the newest last. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Mutex<VecDeque<LineSample>>>);

impl Line {
    /// The samples of the last ten minutes, the newest last.
    #[must_use]
    pub fn samples(&self) -> Vec<LineSample> {
        self.0.lock().iter().cloned().collect()
    }

    fn push(&self, sample: LineSample) {
        let mut samples = self.0.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

impl Tunnel {
    /// Measures the line each second. Never ends.
    pub async fn measure(self) -> Infallible {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            interval.tick().await;
            let elapsed = std::mem::replace(&mut last, Instant::now()).elapsed();
            self.line.push(self.sample(elapsed));
        }
    }

    /// Counts what the sessions have carried until now.
    pub(crate) fn count_bytes(&self) -> (u64, u64) {
        let states = self.servers();
        let counted = states.iter().filter_map(|state| Some(state.session()?.count_bytes(&self.counters)));
        counted
            .fold((0, 0), |(sent, received), (more, more_received)| (sent + more, received + more_received))
    }

    fn sample(&self, elapsed: Duration) -> LineSample {
        let (sent, received) = self.count_bytes();
        let per_second = |bytes: u64| (bytes as f64 / elapsed.max(INTERVAL / 2).as_secs_f64()) as u64;
        let in_use = self.in_use();
        let session = in_use.as_ref().and_then(|state| state.session());
        let rtt = session.map(|session| session.transport().path().rtt);
        let loss = session.and_then(|session| session.loss());
        if let Some(rtt) = rtt
            && received >= BUSY_BYTES_MIN
        {
            self.counters.line.observe(rtt, loss, per_second(received) as f64);
        }
        LineSample {
            at: Timestamp::now(),
            leg: session.map(|session| session.transport().leg()),
            rtt_ms: rtt.map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
            loss,
            received_per_second: per_second(received),
            sent_per_second: per_second(sent),
        }
    }
}
