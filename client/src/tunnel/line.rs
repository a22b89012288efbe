//! What the line to the servers is like, each second: for `/metrics`, and for graphs of the last minutes.
//!
//! Only measures. Must never keep a session from its end, so it holds none.

use super::{ServerState, Tunnel};
use docxy_host::metrics::BUSY_BYTES_MIN;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The seconds that are kept: ten minutes.
const SECONDS_MAX: usize = 600;

/// The bytes per second from all servers, with the legs' headers, the newest last. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Mutex<VecDeque<u64>>>);

impl Line {
    /// Those of the last ten minutes, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<u64> {
        self.0.lock().iter().copied().collect()
    }

    fn push(&self, received: u64) {
        let mut seconds = self.0.lock();
        if seconds.len() == SECONDS_MAX {
            seconds.pop_front();
        }
        seconds.push_back(received);
    }
}

impl Tunnel {
    /// Measures the line each second. Never ends.
    pub async fn measure(self) -> Infallible {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = (Instant::now(), self.received());
        loop {
            interval.tick().await;
            let (then, before) = std::mem::replace(&mut last, (Instant::now(), self.received()));
            let (now, received) = last;
            self.line.push(self.observe(received - before, now.duration_since(then)));
        }
    }

    /// Counts what the sessions have carried until now.
    pub(crate) fn count_bytes(&self) {
        for session in self.servers().iter().filter_map(ServerState::session) {
            session.count_bytes(&self.counters);
        }
    }

    /// The bytes received since the start.
    fn received(&self) -> u64 {
        self.count_bytes();
        self.counters.quic.received.get() + self.counters.tcp.received.get()
    }

    /// So many bytes were received in this time. Returns the rate in bytes per second.
    fn observe(&self, received: u64, elapsed: Duration) -> u64 {
        let rate = received as f64 / elapsed.max(INTERVAL / 2).as_secs_f64();
        let in_use = self.in_use();
        if let Some(session) = in_use.as_ref().and_then(ServerState::session)
            && received >= BUSY_BYTES_MIN
        {
            self.counters.line.observe(session.transport().path().rtt, session.loss(), rate);
        }
        rate as u64
    }
}
