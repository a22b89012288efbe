//! The server's log of exchanges: a line when a pull begins and one when it has ended, one when a registry begins to
//! fail and one when it responds again. Single exchanges are at `debug`.
//!
//! Must never name an image, unless the operator wants that.

use super::pulls::{Begun, ExchangeEnd, Pull, PullKey, Pulls, QUIET, wants_content};
use crate::counters::Counters;
use crate::upstream::UpstreamError;
use docxy_host::byte_size::ByteSize;
use docxy_host::logging::rate_limit::LogLimits;
use docxy_host::trouble::Troubles;
use docxy_protocol::fault::FaultKind;
use docxy_protocol::link::ClientName;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use http::StatusCode;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// These lines are sentences: as text they are written without their fields, which are for programs.
const TARGET: &str = "docxy_server::pulls";

/// The time between two looks at which pulls have ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the log of all exchanges needs to know.
#[derive(Debug)]
pub(crate) struct ExchangeLog {
    /// Whether it names images.
    images: bool,
    pulls: Mutex<Pulls>,
    /// The registries that fail.
    outages: Troubles<Registry>,
    /// Limits the lines of faults that are no outage: a client can cause any number of them.
    faults: LogLimits<FaultKind>,
}

/// One exchange, and the pull that it is part of.
#[derive(Debug)]
pub(crate) struct LoggedExchange<'a> {
    log: &'a ExchangeLog,
    client: &'a ClientName,
    request: &'a Request,
    /// The bytes of its body, and of what is prefetched after it, that were written until now.
    sent: &'a AtomicU64,
    is_of_pull: bool,
    has_failed: bool,
}

impl ExchangeLog {
    pub(crate) fn new(images: bool) -> Self {
        Self { images, pulls: Mutex::default(), outages: Troubles::default(), faults: LogLimits::default() }
    }

    /// Whether it names images.
    pub(crate) const fn names_images(&self) -> bool {
        self.images
    }

    /// An exchange begins. Its bytes are counted in `sent`.
    pub(crate) fn exchange<'a>(
        &'a self,
        client: &'a ClientName,
        request: &'a Request,
        sent: &'a AtomicU64,
    ) -> LoggedExchange<'a> {
        let mut exchange =
            LoggedExchange { log: self, client, request, sent, is_of_pull: false, has_failed: false };
        if wants_content(request) {
            exchange.brings_content();
        }
        exchange
    }

    /// Tells of each pull that has ended. Never ends.
    pub(crate) async fn run(&self, counters: &Counters) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.tell_ended(QUIET, counters);
        }
    }

    /// Tells of the pulls of which nothing has run for so long, and counts them.
    pub(crate) fn tell_ended(&self, quiet: Duration, counters: &Counters) {
        let ended = self.pulls.lock().take_ended(quiet, Instant::now());
        for (key, pull) in ended {
            counters.pull.observe(pull.took().as_secs_f64());
            tell_end(&key, &pull);
        }
    }
}

impl LoggedExchange<'_> {
    /// It sends content of its pull.
    pub(super) fn brings_content(&mut self) {
        if self.is_of_pull || !self.request.trace.is_some() {
            return;
        }
        let key = self.key();
        match self.log.pulls.lock().begin(key, self.request, self.log.images, Instant::now()) {
            Begun::New(pull) => tell_begin(&self.key(), &pull),
            Begun::Goes => {}
            Begun::Ignored => return,
        }
        self.is_of_pull = true;
    }

    /// The registry has responded with this status.
    pub(super) fn responded(&self, status: u16) {
        let registry = &self.request.registry;
        if StatusCode::from_u16(status).is_ok_and(|status| status.is_server_error()) {
            if self.log.outages.begin(registry.clone()) {
                tracing::warn!(status, "the registry fails");
            }
        } else if let Some(lasted_ms) = self.log.outages.end(registry) {
            tracing::info!(lasted_ms, "the registry responds again");
        }
    }

    /// It has failed.
    pub(super) fn failed(&mut self, error: &UpstreamError, ms: u128) {
        self.has_failed = true;
        let causes = error.causes().map(tracing::field::display);
        if !error.fault.is_outage() {
            match self.log.faults.admit(error.fault.kind) {
                Some(suppressed) => tracing::warn!(fault = %error, causes, ms, suppressed, "failed"),
                None => tracing::debug!(fault = %error, causes, ms, "failed"),
            }
        } else if self.log.outages.begin(self.request.registry.clone()) {
            tracing::warn!(fault = %error, causes, ms, "the registry fails");
        } else {
            tracing::debug!(fault = %error, causes, ms, "failed");
        }
    }

    fn key(&self) -> PullKey {
        (self.client.clone(), self.request.trace)
    }
}

impl Drop for LoggedExchange<'_> {
    fn drop(&mut self) {
        if self.is_of_pull {
            let end = ExchangeEnd { bytes: self.sent.load(Ordering::Relaxed), has_failed: self.has_failed };
            self.log.pulls.lock().end(&self.key(), end, Instant::now());
        }
    }
}

fn tell_begin((client, trace_id): &PullKey, pull: &Pull) {
    let (registry, image) = (&pull.registry, pull.image.as_deref());
    let content = image.map_or_else(|| format!("from {registry}"), |image| format!("of {image}"));
    tracing::info!(
        target: TARGET, event = "pull_begin", %trace_id, %client, %registry, image,
        "{client}: a pull {content}, trace {trace_id}"
    );
}

fn tell_end((client, trace_id): &PullKey, pull: &Pull) {
    let Pull { registry, bytes, exchanges, failed, .. } = pull;
    let took = pull.took();
    let (ms, image) = (u64::try_from(took.as_millis()).unwrap_or(u64::MAX), pull.image.as_deref());
    let content = image.map_or_else(|| format!("from {registry}"), |image| format!("of {image}"));
    let failures =
        if *failed == 0 { String::new() } else { format!(", {failed} of {exchanges} requests failed") };
    let rate = ByteSize((*bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
    tracing::info!(
        target: TARGET, event = "pull_end", %trace_id, %client, %registry, image, ms, bytes, exchanges, failed,
        "{client}: {} {content} in {:.1} s, {rate}/s{failures}, trace {trace_id}",
        ByteSize(*bytes), took.as_secs_f64()
    );
}
