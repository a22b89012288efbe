//! Counts what happened since the start, for `/health`.
//!
//! Must never decide anything: it counts, and stores the last reason.

use docxy_protocol::text::{CleanText, clean};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// The last event of a kind.
#[derive(Debug, Default)]
pub(crate) struct LastEvent(Mutex<Option<(SystemTime, CleanText)>>);

/// Events of the tunnel. Clones share them.
pub(crate) type TunnelCounters = Arc<TunnelEvents>;

/// Events of requests and response bodies. Clones share them.
pub(crate) type TransferCounters = Arc<TransferEvents>;

#[derive(Debug, Default)]
pub(crate) struct TunnelEvents {
    /// The tunnel came up.
    pub(crate) connects: Counter,
    /// The tunnel was lost.
    pub(crate) disconnects: Counter,
    pub(crate) last_disconnect: LastEvent,
    /// The connection became silent, so another one was dialed.
    pub(crate) silent_connections: Counter,
    /// The version of the server, at the last connect.
    pub(crate) server_version: LastEvent,
}

#[derive(Debug, Default)]
pub(crate) struct TransferEvents {
    /// Responses that the client sent without a request to the server.
    pub(crate) local_responses: Counter,
    /// Bodies that were interrupted and continue, or wait to.
    pub(crate) interruptions: Counter,
    /// Bodies that ended incomplete.
    pub(crate) failures: Counter,
    pub(crate) last_failure: LastEvent,
    /// Expired tokens that were replaced in the middle of a transfer.
    pub(crate) tokens_renewed: Counter,
    /// Manifests that came from another server, since the first had no pull left.
    pub(crate) pulls_of_others: Counter,
}

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl LastEvent {
    /// `text` may be a server's: it is cleaned and shortened.
    pub(crate) fn set(&self, text: impl Display) {
        *self.0.lock() = Some((SystemTime::now(), clean(text)));
    }

    fn get(&self) -> Option<(SystemTime, CleanText)> {
        self.0.lock().clone()
    }

    fn text(&self) -> Value {
        self.get().map_or(Value::Null, |(_, text)| text.as_str().into())
    }

    fn to_json(&self) -> Value {
        self.get().map_or(Value::Null, |(at, text)| {
            let at = jiff::Timestamp::try_from(at).ok().map(|at| at.to_string());
            json!({ "at": at, "reason": text.as_str() })
        })
    }
}

impl TunnelEvents {
    pub(crate) fn disconnected(&self, reason: impl Display) {
        self.disconnects.increment();
        self.last_disconnect.set(reason);
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "server_version": self.server_version.text(),
            "connects": self.connects.get(),
            "disconnects": self.disconnects.get(),
            "last_disconnect": self.last_disconnect.to_json(),
            "silent_connections": self.silent_connections.get(),
        })
    }
}

impl TransferEvents {
    pub(crate) fn failed(&self, reason: impl Display) {
        self.failures.increment();
        self.last_failure.set(reason);
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "local_responses": self.local_responses.get(),
            "interruptions": self.interruptions.get(),
            "failures": self.failures.get(),
            "last_failure": self.last_failure.to_json(),
            "tokens_renewed": self.tokens_renewed.get(),
            "pulls_of_others": self.pulls_of_others.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_clean_and_has_a_time() {
        let event = LastEvent::default();
        assert_eq!((event.to_json(), event.text()), (Value::Null, Value::Null));
        event.set("first");
        event.set("second\r\nline");
        let json = event.to_json();
        assert!(json["at"].is_string() && !json["reason"].as_str().unwrap().contains('\n'), "{json}");
        assert!(event.text().as_str().unwrap().starts_with("second"));
    }
}
