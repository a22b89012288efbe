//! `docxy-client status --watch` into a pipe: a line for each thing that happens.
//!
//! Must never print a line for what is as it was, such as a pull that makes no progress.

use super::view::{cache, error_line, finished, line, progress, quota, server_line, title, wait};
use crate::status::Snapshot;
use crate::status::pulls::PullReport;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;

/// Each request waits for a moment.
const WAIT_MIN: SignedDuration = SignedDuration::from_secs(2);

/// A pull has a line for each of so many parts of its bytes.
const PROGRESS_PARTS: u64 = 10;

/// With this begins the key of the first line.
const LINE: &str = "line ";

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Changes(HashSet<String>);

impl Changes {
    /// A line for each thing that was not so at the last look, each with its time.
    pub(super) fn lines(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
        let (mut seen, mut lines) = (HashSet::new(), Vec::new());
        for (key, at, text) in things(snapshot, now) {
            if !self.0.contains(&key) {
                lines.push(format!("{at:.0} {text}"));
            }
            seen.insert(key);
        }
        self.0 = seen;
        lines
    }

    /// No client answers. The first line comes again when one does.
    pub(super) fn error(&mut self, error: &str, now: Timestamp) -> Vec<String> {
        self.0.retain(|key| !key.starts_with(LINE));
        self.0.insert(error.to_owned()).then(|| format!("{now:.0} {error}")).into_iter().collect()
    }
}

/// What tells it from others, the time, and the line.
type Thing = (String, Timestamp, String);

fn things(snapshot: &Snapshot, now: Timestamp) -> Vec<Thing> {
    let Snapshot { line: state, servers, quota: limits, errors, finished: ended, pulls, .. } = snapshot;
    let leg = state.session.as_ref().map(|session| session.leg);
    let mut things =
        vec![(format!("{LINE}{} {:?} {leg:?}", state.tunnel, state.server_name), now, line(snapshot, now))];
    // A single one is that of the first line.
    things.extend(servers.iter().filter(|_| servers.len() > 1).map(|server| {
        let key = format!("{} {} {} {}", server.server, server.state, server.in_use, server.draining);
        (key, now, format!("server {}", server_line(server, now)))
    }));
    things.extend(limits.iter().map(|limit| {
        let key = format!("{} {:?} {:?}", limit.registry, limit.source, (limit.remaining, limit.limit));
        (key, limit.at, format!("quota {}", quota(limit, now)))
    }));
    if let Some(report) = snapshot.cache.as_ref().filter(|report| report.problem.is_some()) {
        things.push((cache(report), now, cache(report)));
    }
    things.extend(errors.iter().rev().map(|error| {
        let key = format!("{} {:?} {}", error.at, error.image, error.text);
        (key, error.at, format!("error {}", error_line(error, "")))
    }));
    things.extend(
        ended
            .iter()
            .rev()
            .map(|pull| (format!("{} {}", pull.id, pull.at), pull.at, format!("ended {}", finished(pull)))),
    );
    things.extend(pulls.iter().filter_map(|pull| running(pull, now)));
    things
}

/// A line when its manifest is known, one for each part of its bytes, and one when it begins to wait or goes on.
fn running(pull: &PullReport, now: Timestamp) -> Option<Thing> {
    let part = pull.bytes.saturating_mul(PROGRESS_PARTS).checked_div(pull.length?).unwrap_or(PROGRESS_PARTS);
    let is_long = pull.waits_since.is_some_and(|since| now.duration_since(since) >= WAIT_MIN);
    let wait = wait(pull, now).filter(|_| is_long || pull.reason.is_some());
    let key =
        format!("{} {part} {:?} {}", pull.id, pull.waits_for.filter(|_| is_long), pull.reason.is_some());
    let title = title(&pull.image, pull.engine.as_deref(), pull.platform.as_deref());
    let more = wait.map_or_else(String::new, |wait| format!(": {wait}"));
    Some((key, now, format!("pull {title}: {}{more}", progress(pull, None))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pipe_gets_a_line_for_what_has_changed() {
        let at = "2026-01-01T00:00:00Z";
        let pull = |bytes: u64, waits_for: Option<&str>| {
            json!([{
                "id": 1, "image": "docker.io/library/app:1", "engine": "docker", "platform": null, "since": at,
                "bytes": bytes, "length": 1000, "bytes_per_second": 7, "seconds_left": null, "layers": [],
                "waits_for": waits_for, "waits_since": waits_for.map(|_| at), "reason": null,
            }])
        };
        let ended = json!([{
            "id": 1, "image": "docker.io/library/app:1", "engine": "docker", "platform": null, "at": at,
            "outcome": "done", "reason": null, "milliseconds": 1500, "layers": [0, 0], "from_tunnel": 1024,
            "from_cache": 0, "from_neighbour": 0, "interruptions": 0,
        }]);
        let mut changes = Changes::default();
        let now: Timestamp = "2026-01-01T00:00:03.4Z".parse().unwrap();
        let mut look = |tunnel: &str,
                        history: u64,
                        pulls: serde_json::Value,
                        finished: &serde_json::Value| {
            let snapshot = json!({
                "version": "1", "address": "127.0.0.1:5080", "line": { "tunnel": tunnel, "server_name": "s:1", "since": null },
                "servers": [], "history": [history], "pulls": pulls, "finished": finished, "quota": [], "cache": null,
                "errors": [], "engines": null,
            });
            changes.lines(&serde_json::from_value(snapshot).unwrap(), now)
        };
        let none = json!([]);
        assert_eq!(look("up", 1, none.clone(), &none), ["2026-01-01T00:00:03Z up s:1"]);
        let begins = look("up", 2, pull(0, None), &none);
        assert_eq!(begins.len(), 1);
        assert!(begins[0].contains("pull docker.io/library/app:1 (docker): 0 B of 1000 B"), "{begins:?}");
        assert_eq!(look("up", 3, pull(99, None), &none).len(), 0, "less than a tenth");
        assert_eq!(look("up", 3, pull(100, None), &none).len(), 1);
        let waits = look("down", 0, pull(100, Some("tunnel")), &none);
        assert_eq!(
            (waits.len(), waits[1].ends_with("it has waited for 3 seconds for the tunnel")),
            (2, true),
            "{waits:?}"
        );
        assert_eq!(look("down", 0, pull(100, Some("tunnel")), &none).len(), 0);
        let done = look("up", 0, none.clone(), &ended);
        assert_eq!(
            done[1],
            "2026-01-01T00:00:00Z ended docker.io/library/app:1 (docker): 1.00 KiB by the tunnel and 0 B from here in 1.5 s"
        );
        assert_eq!(look("up", 0, none, &ended).len(), 0);
    }
}
