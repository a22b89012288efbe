//! What a connection has carried, for its client's usage and the counters.
//!
//! Must never count a byte twice: each update adds what came since the last one.

use crate::counters::Counters;
use crate::listener::client_connections::Registration;
use crate::state::ClientUsage;
use docxy_host::metrics::BUSY_BYTES_MIN;
use docxy_transport::{Path, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a connection's bytes are added to the client's usage, which `docxy-server clients` shows.
pub(super) const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// Adds a connection's byte counts to its client's usage, and measures its line.
pub(super) struct UsageRecorder<'a> {
    usage: Arc<ClientUsage>,
    registration: &'a Registration,
    counters: &'a Counters,
    last: (Path, Instant),
}

impl<'a> UsageRecorder<'a> {
    pub(super) fn new(
        usage: Arc<ClientUsage>,
        registration: &'a Registration,
        counters: &'a Counters,
    ) -> Self {
        Self { usage, registration, counters, last: (Path::default(), Instant::now()) }
    }

    pub(super) fn update(&mut self, session: &Session) {
        let (before, then) = std::mem::replace(&mut self.last, (session.path(), Instant::now()));
        let (path, now) = self.last;
        let (sent, received) =
            (path.bytes_sent - before.bytes_sent, path.bytes_received - before.bytes_received);
        self.usage.add_sent(sent);
        self.usage.add_received(received);
        self.usage.seen(jiff::Timestamp::now());
        self.counters.carried(session.leg(), sent, received);
        let elapsed = now.duration_since(then).max(USAGE_INTERVAL / 2);
        let rate = sent as f64 / elapsed.as_secs_f64();
        self.registration.set_rate(rate as u64);
        if sent >= BUSY_BYTES_MIN {
            let packets = path.packets_sent.saturating_sub(before.packets_sent);
            let lost = path.packets_lost.saturating_sub(before.packets_lost);
            let loss = (packets > 0).then(|| (lost as f64 / packets as f64).min(1.0));
            self.counters.line.observe(path.rtt, loss, rate);
        }
    }
}
