//! Pulls: the transfers of an engine that fetch one image, put together.
//!
//! A request for the manifest of a tag begins a pull. What that manifest names belongs to it. Pure: the time is an
//! argument, and bytes are asked for when a report is made. Must never lock anything, nor decide anything: it records.

mod pull;
mod report;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use pull::Pull;
pub use report::{Finished, LayerReport, LayerState, Outcome, PullReport};
pub(crate) use wanted::Wanted;

use crate::status::reason::Reason;
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::Digest;
use docxy_protocol::request::TraceId;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Maximum number of pulls that run, and of those that have ended. A request beyond belongs to no pull.
const RUNNING_MAX: usize = 1000;
const ENDED_MAX: usize = 50;

/// After this time without a request a pull has ended: the engine has the other layers already.
const QUIET: Duration = Duration::from_secs(5);

/// The same after a failure: engines try again after up to 20 s.
const QUIET_AFTER_FAILURE: Duration = Duration::from_secs(25);

/// So long after its end a pull goes on with a further request of its engine.
const REOPEN: Duration = Duration::from_secs(60);

/// The bits of the first id: a page reads ids as numbers that are exact up to 53 bits.
const FIRST_ID_BITS: u32 = 48;

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) wall: Timestamp,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), wall: Timestamp::now() }
    }

    /// The wall clock at an earlier moment. Whole seconds, so that it is the same in all reports.
    pub(crate) fn wall_of(self, earlier: Instant) -> Option<Timestamp> {
        let ago = self.at.saturating_duration_since(earlier);
        Timestamp::from_second(self.wall.checked_sub(ago).ok()?.as_second()).ok()
    }
}

/// How a transfer stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    pub(crate) bytes_per_second: u64,
    /// What it waits for, since when, and why if something failed.
    pub(crate) wait: Option<(crate::transfer::WaitsFor, Instant, Option<Reason>)>,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct End {
    pub(crate) bytes: u64,
    /// Whether the body arrived whole.
    pub(crate) is_complete: bool,
    /// The status of the response, if there was one.
    pub(crate) status: Option<u16>,
    /// Those of them that this client had kept, or that another engine's request brought.
    pub(crate) cached: u64,
    /// Those of `cached` that a neighbour brought.
    pub(crate) brought: u64,
    /// How often it was interrupted, and went on.
    pub(crate) interruptions: u32,
}

/// What happened to a pull, for logs and metrics.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its image is known.
    Began(Pull),
    Ended(Pull),
}

/// All pulls.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    /// Oldest first.
    running: Vec<Pull>,
    /// Oldest first.
    ended: VecDeque<Pull>,
    last_id: u64,
    /// From which the trace ids are made.
    first_trace: u64,
    events: VecDeque<Event>,
}

impl Pulls {
    /// No pulls. Their ids and trace ids are made from this random number: a page and a command that watch a client over
    /// its restart must not take a pull for one from before.
    pub(crate) fn new(random: u64) -> Self {
        Self { last_id: random >> (u64::BITS - FIRST_ID_BITS), first_trace: random, ..Self::default() }
    }

    /// A transfer begins. Those that are for no image are ignored. Returns the trace id of its pull.
    pub(crate) fn begin(&mut self, transfer: u64, wanted: &Wanted, now: Moment) -> TraceId {
        let running = self.running.iter_mut().rev();
        if let Some(pull) = running.filter(|pull| pull.takes(wanted)).max_by_key(|pull| pull.knows(wanted)) {
            pull.begin(transfer, wanted, now);
            return pull.trace;
        }
        let is_recent = |pull: &Pull| {
            pull.ended.is_some_and(|(at, _)| now.at.saturating_duration_since(at.at) < REOPEN)
                && pull.knows(wanted)
        };
        let reopened = self.ended.iter().rposition(|pull| pull.takes(wanted) && is_recent(pull));
        let reopened = reopened.filter(|_| !wanted.is_tag()).and_then(|position| self.ended.remove(position));
        let mut pull = match reopened {
            Some(pull) => pull,
            None if self.running.len() >= RUNNING_MAX => return TraceId::default(),
            None => {
                self.last_id += 1;
                // Numbers that are far apart, of which none comes twice.
                let trace = self.first_trace.wrapping_add(self.last_id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                Pull::new(self.last_id, TraceId(trace), wanted, now)
            }
        };
        pull.begin(transfer, wanted, now);
        let trace = pull.trace;
        self.running.push(pull);
        trace
    }

    /// The response of a transfer says which digest its tag has.
    pub(crate) fn named(&mut self, transfer: u64, digest: &Digest) {
        if let Some(pull) = self.of(transfer) {
            pull.known.insert(digest.clone());
        }
    }

    /// The manifest that a transfer was for has arrived.
    pub(crate) fn manifest(&mut self, transfer: u64, digest: &Digest, manifest: &Manifest) {
        let Some(pull) = self.of(transfer) else { return };
        if pull.add_manifest(digest, manifest) {
            let began = pull.clone();
            self.tell(Event::Began(began));
        }
    }

    /// A transfer has ended.
    pub(crate) fn end(&mut self, transfer: u64, end: End, now: Moment) {
        let Some(position) = self.running.iter().position(|pull| pull.has(transfer)) else { return };
        self.running[position].end(transfer, end, now);
        if self.running[position].is_whole() {
            self.close(position, now);
        }
    }

    /// A request has failed for good.
    pub(crate) fn failed(&mut self, wanted: &Wanted, failure: Reason) {
        if let Some(pull) = self.running.iter_mut().rev().find(|pull| pull.takes(wanted)) {
            pull.failure = Some(failure);
        }
    }

    /// Ends the pulls that ask for nothing more.
    pub(crate) fn tick(&mut self, now: Moment) {
        let is_over = |pull: &Pull| {
            let quiet = if pull.failure.is_some() { QUIET_AFTER_FAILURE } else { QUIET };
            pull.is_idle() && now.at.saturating_duration_since(pull.active.at) >= quiet
        };
        while let Some(position) = self.running.iter().position(is_over) {
            self.close(position, now);
        }
    }

    /// What has happened since the last call.
    pub(crate) fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.events)
    }

    /// The running pulls, oldest first.
    pub(crate) fn running(&self, now: Moment, progress: impl Fn(u64) -> Option<Progress>) -> Vec<PullReport> {
        self.running.iter().map(|pull| pull.report(now, &progress)).collect()
    }

    /// The pulls that have ended, latest first.
    pub(crate) fn finished(&self) -> Vec<Finished> {
        self.ended.iter().rev().filter_map(Pull::finished).collect()
    }

    /// Forgets a pull that has ended, or all of them.
    pub(crate) fn remove_finished(&mut self, id: Option<u64>) {
        self.ended.retain(|pull| id.is_some_and(|id| id != pull.id));
    }

    /// Those that are not taken are forgotten.
    fn tell(&mut self, event: Event) {
        if self.events.len() >= ENDED_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn of(&mut self, transfer: u64) -> Option<&mut Pull> {
        self.running.iter_mut().find(|pull| pull.has(transfer))
    }

    /// A pull of which nothing was fetched was a question: an engine looked whether a tag has moved.
    fn close(&mut self, position: usize, now: Moment) {
        let mut pull = self.running.remove(position);
        if !pull.has_content && pull.failure.is_none() {
            return;
        }
        pull.close(now);
        self.tell(Event::Ended(pull.clone()));
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(pull);
    }
}
