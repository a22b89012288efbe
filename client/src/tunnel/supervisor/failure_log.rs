//! Which failures of a server are worth a line in the log: each reason at once, and then from time to time.
//!
//! A server that is gone for days must never fill the log. Pure: time is an argument.

use docxy_protocol::text::CleanText;
use std::time::{Duration, Instant};

/// The time between two lines with the same reason.
const REPEAT_INTERVAL: Duration = Duration::from_secs(300);

/// Reasons that are known, at most. Two legs to several addresses have a few.
const REASONS_MAX: usize = 16;

/// The reasons that were logged, and when.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Vec<(CleanText, Instant)>);

impl FailureLog {
    /// Whether this failure is to be logged.
    pub(super) fn admit(&mut self, reason: &CleanText, now: Instant) -> bool {
        let known = self.0.iter_mut().find(|(known, _)| known == reason);
        match known {
            Some((_, logged)) if now.duration_since(*logged) < REPEAT_INTERVAL => false,
            Some((_, logged)) => {
                *logged = now;
                true
            }
            None => {
                if self.0.len() == REASONS_MAX {
                    self.0.clear();
                }
                self.0.push((reason.clone(), now));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_at_once_and_then_rarely() {
        let (start, mut log) = (Instant::now(), FailureLog::default());
        let lines = (0..1200).filter(|n| {
            // Two ports in turn.
            let reason = ["a: no response", "b: no response"][n % 2].into();
            log.admit(&reason, start + Duration::from_millis(2500) * u32::try_from(*n).unwrap())
        });
        // 50 minutes.
        assert_eq!(lines.count(), 20);
        assert!(log.admit(&"another".into(), start));
        log = FailureLog::default();
        assert!(log.admit(&"a: no response".into(), start), "after a session");
    }
}
