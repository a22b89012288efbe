//! Which failures of a server are worth a line in the log: each reason once, until a session was up.
//!
//! A server that is gone for days must never fill the log. Pure.

use docxy_protocol::text::CleanText;

/// Reasons that are logged, at most. Two legs to several addresses have a few.
const REASONS_MAX: usize = 16;

/// The reasons that were logged.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Vec<CleanText>);

impl FailureLog {
    /// Whether this failure is to be logged.
    pub(super) fn admit(&mut self, reason: &CleanText) -> bool {
        let is_new = self.0.len() < REASONS_MAX && !self.0.contains(reason);
        if is_new {
            self.0.push(reason.clone());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_logged_once_until_a_session_was_up() {
        let mut log = FailureLog::default();
        // Two ports in turn.
        let reason = |n: usize| ["a: no response", "b: no response"][n % 2].into();
        assert_eq!((0..1200).filter(|n| log.admit(&reason(*n))).count(), 2);
        let others = (0..1200).filter(|n| log.admit(&format!("{n}").as_str().into()));
        assert_eq!(others.count(), REASONS_MAX - 2);
        log = FailureLog::default();
        assert!(log.admit(&reason(0)), "after a session");
    }
}
