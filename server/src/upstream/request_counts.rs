//! Counts the requests to one registry, with its token service and its CDN.
//!
//! Must never decide anything: it only counts.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;

/// Refusals that are further apart are two troubles.
const REFUSALS_APART: SignedDuration = SignedDuration::from_hours(1);

/// Counts since the registry was set up.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    requests: Mutex<HashMap<(Hop, Option<StatusCode>), u64>>,
    retries: Mutex<HashMap<(Hop, FaultKind), u64>>,
    refusals: Mutex<Option<Refusals>>,
}

/// The requests that hosts refused lately with 429. Many of these responses say nothing of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Refusals {
    fn is_recent(self, now: Timestamp) -> bool {
        now.duration_since(self.last) < REFUSALS_APART
    }
}

impl RequestCounts {
    /// A host responded with this status, or not at all.
    pub(crate) fn requested(&self, hop: Hop, status: Option<StatusCode>) {
        *self.requests.lock().entry((hop, status)).or_default() += 1;
        if status == Some(StatusCode::TOO_MANY_REQUESTS) {
            self.refused(Timestamp::now());
        }
    }

    /// A request is sent again, since this happened.
    pub(crate) fn retried(&self, fault: &Fault) {
        *self.retries.lock().entry((fault.hop, fault.kind)).or_default() += 1;
    }

    fn refused(&self, last: Timestamp) {
        let mut refusals = self.refusals.lock();
        let before = refusals.filter(|before| before.is_recent(last));
        let (count, first) = before.map_or((0, last), |before| (before.count, before.first));
        *refusals = Some(Refusals { count: count + 1, first, last });
    }

    /// The refusals, unless they are over.
    pub(crate) fn refusals(&self, now: Timestamp) -> Option<Refusals> {
        self.refusals.lock().filter(|refusals| refusals.is_recent(now))
    }

    /// By hop and status, which is `None` without a response.
    pub(crate) fn requests(&self) -> HashMap<(Hop, Option<StatusCode>), u64> {
        self.requests.lock().clone()
    }

    /// By what had failed.
    pub(crate) fn retries(&self) -> HashMap<(Hop, FaultKind), u64> {
        self.retries.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_from_the_first_after_a_quiet_hour() {
        let counts = RequestCounts::default();
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let refusals = |now| counts.refusals(at(now)).map(|refusals| (refusals.count, refusals.first));
        for minute in [0, 59, 118] {
            counts.refused(at(minute));
        }
        assert_eq!((refusals(177), refusals(178)), (Some((3, at(0))), None));
        counts.refused(at(178));
        assert_eq!(refusals(178), Some((1, at(178))));
    }
}
