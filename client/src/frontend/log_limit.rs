//! Limits the log messages about requests that a web page or a local program can cause in any number without
//! using a registry.
//!
//! Must never suppress the messages of pulls.

use docxy_host::logging::rate_limit::LogLimits;
use docxy_protocol::fault::{Fault, Hop};
use http::StatusCode;

/// Maximum number of characters of a method or path in a message. A path can be as long as a request head.
const TEXT_CHARS_MAX: usize = 256;

/// Limits the messages about requests that failed, for each status.
#[derive(Debug, Default)]
pub(super) struct RequestLogLimit(LogLimits<StatusCode>);

impl RequestLogLimit {
    /// Whether to log a fault, and how many similar ones were suppressed.
    pub(super) fn failed(&self, fault: &Fault) -> Option<Option<u64>> {
        match fault.hop {
            // Refused here or by the server, or not sent since the tunnel is down. No registry was used.
            Hop::Engine | Hop::Tunnel | Hop::Server => self.0.admit(fault.status()),
            _ => Some(None),
        }
    }
}

/// The start of a method or path for a message.
pub(super) fn truncate(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::fault::FaultKind;

    fn passed(mut admit: impl FnMut() -> Option<Option<u64>>) -> usize {
        (0..1000).filter(|_| admit().is_some()).count()
    }

    #[test]
    fn messages_of_pulls_are_not_limited() {
        let limit = RequestLogLimit::default();
        let fault = |hop, kind| Fault::new(hop, kind, "");
        let refused = fault(Hop::Engine, FaultKind::HostNotServed);
        assert_eq!(passed(|| limit.failed(&refused)), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Tunnel, FaultKind::Down))), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Server, FaultKind::RegistryNotServed))), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Registry, FaultKind::Unreachable))), 1000);
    }

    #[test]
    fn a_long_path_is_truncated() {
        assert_eq!(truncate("/v2/"), "/v2/");
        assert_eq!(truncate(&"ü".repeat(10_000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
