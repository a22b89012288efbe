//! Which lines about requests are limited: those that a web page or a program on this machine can cause
//! by the thousand without any registry being asked.
//!
//! Must leave the lines of pulls alone: each of them stands for work that was done.

use docxy_host::log_rate_limit::LogLimits;
use docxy_protocol::fault::{Fault, Hop};
use http::{Response, StatusCode};

/// The longest method or path in a line. A path may have as many bytes as a request's head.
const SHOWN: usize = 256;

/// A kind of line: one for each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Failed(StatusCode),
    Answered(StatusCode),
}

/// Limits the lines about requests.
#[derive(Debug, Default)]
pub(super) struct LineLimit(LogLimits<Kind>);

impl LineLimit {
    /// Whether to log a fault, and how many lines like it were left out.
    pub(super) fn failed(&self, fault: &Fault) -> Option<Option<u64>> {
        match fault.hop {
            // Refused here or by the server (a registry that it does not serve), or not sent for want of a
            // tunnel. No registry was asked.
            Hop::Engine | Hop::Tunnel | Hop::Server => self.0.admit(Kind::Failed(fault.status())),
            _ => Some(None),
        }
    }

    /// The same for an answer; `is_pull` if it is about content of a registry.
    pub(super) fn answered<B>(&self, response: &Response<B>, is_pull: bool) -> Option<Option<u64>> {
        let status = response.status();
        // The challenge is known here, and whoever goes on has a token next.
        if is_pull && status != StatusCode::UNAUTHORIZED {
            return Some(None);
        }
        self.0.admit(Kind::Answered(status))
    }
}

/// What a line shows of a method or a path.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
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
    fn what_costs_nothing_is_limited_and_what_was_pulled_is_not() {
        let limit = LineLimit::default();
        let fault = |hop, kind| Fault::new(hop, kind, "");
        let refused = fault(Hop::Engine, FaultKind::HostNotServed);
        assert_eq!(passed(|| limit.failed(&refused)), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Tunnel, FaultKind::Down))), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Server, FaultKind::RegistryNotServed))), 10);
        assert_eq!(passed(|| limit.failed(&fault(Hop::Registry, FaultKind::Unreachable))), 1000);
        let answer = |status| Response::builder().status(status).body(()).unwrap();
        assert_eq!(passed(|| limit.answered(&answer(200), false)), 10);
        assert_eq!(passed(|| limit.answered(&answer(401), true)), 10);
        assert_eq!(passed(|| limit.answered(&answer(200), true)), 1000);
        assert_eq!(passed(|| limit.answered(&answer(404), true)), 1000);
    }

    #[test]
    fn what_is_shown_of_a_path_is_bounded() {
        assert_eq!(shown("/v2/"), "/v2/");
        assert_eq!(shown(&"ü".repeat(10_000)).chars().count(), SHOWN + 1);
    }
}
