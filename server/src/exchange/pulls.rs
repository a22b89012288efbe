//! Pulls, as far as a server sees them: the exchanges of one client that have the same trace id. Only the client knows
//! when a pull ends; here it has ended when it asks for nothing for a while.
//!
//! Pure: the time is an argument. Bounded.

use docxy_protocol::link::ClientName;
use docxy_protocol::name::{Reference, Registry};
use docxy_protocol::request::{Method, Operation, Request, TraceId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Pulls at a time, at most. Exchanges of others are in the log at `debug` alone.
const PULLS_MAX: usize = 4096;

/// After this time without an exchange a pull has ended. A client that has lost its connection is back sooner.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// Whose pull it is, and its trace id.
pub(super) type PullKey = (ClientName, TraceId);

/// A pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pull {
    pub(super) registry: Registry,
    /// `registry/repository:tag`, if the log may name images.
    pub(super) image: Option<String>,
    pub(super) began: Instant,
    /// When its last exchange has ended.
    pub(super) ended: Instant,
    /// Bytes of bodies.
    pub(super) bytes: u64,
    pub(super) exchanges: u64,
    pub(super) failed: u64,
    running: usize,
}

impl Pull {
    /// From its first exchange to the end of the last one.
    pub(super) fn took(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

/// How an exchange of a pull ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExchangeEnd {
    pub(super) bytes: u64,
    pub(super) has_failed: bool,
}

/// The pulls that run.
#[derive(Debug, Default)]
pub(super) struct Pulls(HashMap<PullKey, Pull>);

impl Pulls {
    /// An exchange that sends content begins.
    pub(super) fn begin(&mut self, key: PullKey, request: &Request, has_image: bool, now: Instant) -> Begun {
        if let Some(pull) = self.0.get_mut(&key) {
            pull.running += 1;
            return Begun::Goes;
        }
        if self.0.len() >= PULLS_MAX {
            return Begun::Ignored;
        }
        let image = if has_image { image(request) } else { None };
        let registry = request.registry.clone();
        let pull =
            Pull { registry, image, began: now, ended: now, bytes: 0, exchanges: 0, failed: 0, running: 1 };
        self.0.insert(key, pull.clone());
        Begun::New(pull)
    }

    /// Such an exchange has ended.
    pub(super) fn end(&mut self, key: &PullKey, end: ExchangeEnd, now: Instant) {
        let Some(pull) = self.0.get_mut(key) else { return };
        pull.running = pull.running.saturating_sub(1);
        pull.bytes += end.bytes;
        pull.exchanges += 1;
        pull.failed += u64::from(end.has_failed);
        pull.ended = now;
    }

    /// Removes the pulls of which nothing has run for so long.
    pub(super) fn take_ended(&mut self, quiet: Duration, now: Instant) -> Vec<(PullKey, Pull)> {
        let is_over = |pull: &Pull| pull.running == 0 && now.saturating_duration_since(pull.ended) >= quiet;
        self.0.extract_if(|_, pull| is_over(pull)).collect()
    }
}

/// What an exchange is to the pulls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// A pull begins with it.
    New(Pull),
    /// It is one of a pull that runs.
    Goes,
    /// It belongs to none.
    Ignored,
}

/// Whether a request asks for content, rather than whether something is there. The response to another one may bring
/// content too: prefetched one.
pub(super) const fn wants_content(request: &Request) -> bool {
    matches!(
        request.operation,
        Operation::Manifest { method: Method::Get, .. } | Operation::Blob { method: Method::Get, .. }
    )
}

/// The image as users name it.
fn image(request: &Request) -> Option<String> {
    let Request { registry, operation, .. } = request;
    let repository = operation.repository()?;
    Some(match operation {
        Operation::Manifest { reference: Reference::Tag(tag), .. } => {
            format!("{registry}/{repository}:{tag}")
        }
        _ => format!("{registry}/{repository}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reference: &str) -> Request {
        let (repository, reference) = ("library/app".parse().unwrap(), reference.parse().unwrap());
        let operation = Operation::Manifest { repository, reference, method: Method::Get };
        Request::new(Registry::docker_hub(), operation)
    }

    fn key(client: &str, trace: u64) -> PullKey {
        (client.parse().unwrap(), TraceId(trace))
    }

    #[test]
    fn exchanges_with_one_trace_id_of_one_client_are_one_pull() {
        let (start, mut pulls) = (Instant::now(), Pulls::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = pulls.begin(key("a", 1), &request("latest"), true, start);
        let Begun::New(pull) = first else { panic!("{first:?}") };
        assert_eq!(pull.image.as_deref(), Some("docker.io/library/app:latest"));
        assert_eq!(pulls.begin(key("a", 1), &request("latest"), true, at(1)), Begun::Goes);
        let other = pulls.begin(key("b", 1), &request("latest"), false, at(1));
        assert!(matches!(other, Begun::New(Pull { image: None, .. })), "another client");
        pulls.end(&key("a", 1), ExchangeEnd { bytes: 5, has_failed: false }, at(2));
        assert_eq!(pulls.take_ended(QUIET, at(100)), [], "both run");
        pulls.end(&key("a", 1), ExchangeEnd { bytes: 7, has_failed: true }, at(100));
        assert_eq!(pulls.take_ended(QUIET, at(109)), []);
        let (ended, pull) = pulls.take_ended(QUIET, at(110)).remove(0);
        assert_eq!((ended, pull.bytes, pull.exchanges, pull.failed), (key("a", 1), 12, 2, 1));
        assert_eq!(pull.took(), Duration::from_secs(100), "the wait for its end is no part of it");
        let again = pulls.begin(key("a", 1), &request("latest"), true, at(120));
        assert!(matches!(again, Begun::New(_)), "it goes on after a pause");
    }

    #[test]
    fn their_number_is_limited() {
        let (now, mut pulls) = (Instant::now(), Pulls::default());
        let begun = (1..PULLS_MAX as u64 + 100)
            .filter(|n| matches!(pulls.begin(key("a", *n), &request("latest"), false, now), Begun::New(_)));
        assert_eq!(begun.count(), PULLS_MAX);
        assert_eq!(
            pulls.begin(key("a", PULLS_MAX as u64 + 50), &request("latest"), false, now),
            Begun::Ignored
        );
        pulls.end(&key("a", PULLS_MAX as u64 + 50), ExchangeEnd::default(), now);
    }
}
