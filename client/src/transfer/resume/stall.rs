//! When a body is requested again after a failure, and when it is given up.
//!
//! Must never request anything itself.

use super::ResumableBody;
use crate::exchange::ExchangeError;
use crate::tunnel::Session;
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::fault::{Fault, FaultKind, Hop, Retry};
use http::StatusCode;
use std::time::{Duration, Instant};

/// The delays before another request after a bad response.
const RETRY_SCHEDULE: Schedule =
    Schedule::exponential(Duration::from_millis(500), 2.0, Duration::from_secs(15));

/// Maximum number of failures of the registry, its token service or its CDN before the first response. Each is the
/// result of several attempts of the server.
const UPSTREAM_FAILURES_MAX: u32 = 6;

/// A transfer that receives nothing.
pub(super) struct Stall {
    pub(super) since: Instant,
    /// How often the registry, its token service or its CDN failed.
    pub(super) upstream_failures: u32,
    pub(super) backoff: Backoff,
    /// The time before the next attempt.
    pub(super) delay: Duration,
    /// Whether it was logged.
    pub(super) is_told: bool,
}

impl Stall {
    pub(super) fn begin() -> Self {
        let backoff = Backoff::new(RETRY_SCHEDULE);
        Self { since: Instant::now(), backoff, delay: Duration::ZERO, upstream_failures: 0, is_told: false }
    }
}

impl ResumableBody {
    /// The transfer receives bytes again.
    pub(super) fn tell_end(&self, stall: &Stall) {
        let (content, trace_id) = (self.guard.name(), self.guard.trace());
        let waited_ms = u64::try_from(stall.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(content, waited_ms, %trace_id, "the transfer continues");
        if let Some(source) = &self.source {
            source.context.responded(&source.range_request.request.registry, StatusCode::PARTIAL_CONTENT);
        }
    }

    /// When a stall ends the body. `None` without a stall, or if nothing can be requested again.
    pub(super) fn stall_end(&self) -> Option<Instant> {
        let (stall, source) = (self.stall.as_ref()?, self.source.as_ref()?);
        Some(stall.since + *source.context.stall_timeout.read())
    }

    /// The error at the end of a stall.
    pub(super) fn timed_out(&self) -> ExchangeError {
        let (hop, detail) = match &self.last_fault {
            Some(fault) => (fault.hop, fault.detail.as_str()),
            None => (Hop::Server, "no response"),
        };
        let stalled = self.stall.as_ref().map_or(Duration::ZERO, |stall| stall.since.elapsed());
        let detail = format!("no byte received for {} s: {detail}", stalled.as_secs());
        Fault::new(hop, FaultKind::TimedOut, detail).into()
    }

    /// Records a failure. Returns it if the fault table has no hope.
    pub(super) fn failed(&mut self, error: ExchangeError) -> Result<(), ExchangeError> {
        let Some(source) = self.source.as_mut().filter(|_| error.retry() == Retry::Transient) else {
            return Err(error);
        };
        let fault = error.to_fault();
        // A part may have come over another session than the one in use.
        let is_closed = |session: &Session| session.transport().close_reason().is_some();
        let is_lost = matches!(error, ExchangeError::SessionLost(_) | ExchangeError::RunningClientLost);
        if is_lost && source.session.as_ref().is_none_or(is_closed) {
            source.lost = source.session.take().map(Session::into_lost).or_else(|| source.lost.take());
        }
        // The first attempt after progress comes at once, and so does one on another session.
        let is_first = self.stall.is_none();
        let stall = self.stall.get_or_insert_with(Stall::begin);
        stall.upstream_failures += u32::from(fault.hop.is_upstream());
        if !source.has_responded && stall.upstream_failures >= UPSTREAM_FAILURES_MAX {
            return Err(error);
        }
        stall.delay = if is_first || is_lost {
            Duration::ZERO
        } else {
            stall.backoff.next_delay(stall.since.elapsed(), random_fraction())
        };
        source.context.counters.retries.increment(&fault);
        source.context.failed_at(&source.range_request.request.registry, &fault);
        self.last_fault = Some(fault);
        Ok(())
    }
}
