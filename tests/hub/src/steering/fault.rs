//! Scripted faults of the stand-in, armed and counted. A fault is taken by the first request that matches; without
//! a match it stays armed.
//! Must never be random: without a rule the stand-in works correctly.

use std::{future::Future, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::steering::site::Site;

/// A fault of one of the hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The host responds with this status, in its own error format.
    Status {
        /// The host.
        site: Site,
        /// The status.
        status: u16,
        /// A `Retry-After` field with this number of seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The host responds later.
    Delay {
        /// The host.
        site: Site,
        /// The delay in milliseconds.
        millis: u64,
    },
    /// The host responds only after [`Faults::release`].
    Hold {
        /// The host.
        site: Site,
    },
    /// The host closes the connection instead of responding.
    HangUp {
        /// The host.
        site: Site,
    },
    /// The host closes the connection in the middle of a successful response's body.
    BreakOff {
        /// The host.
        site: Site,
    },
    /// The host stops in the middle of a body, and closes the connection after [`Faults::release`].
    FallSilent {
        /// The host.
        site: Site,
    },
    /// The host sends the body of a successful response in a hundred pieces, evenly over this time.
    Trickle {
        /// The host.
        site: Site,
        /// The time in milliseconds.
        millis: u64,
    },
    /// A manifest request gets 429, as JSON with `TOOMANYREQUESTS`.
    PullLimit,
    /// The registry responds with 429 as plain text: Docker Hub's abuse limit.
    AbuseLimit,
    /// The registry rejects a valid token as invalid.
    InvalidToken,
    /// The token service appends bytes to a token, which makes it invalid.
    LongToken {
        /// The number of bytes.
        bytes: usize,
    },
    /// A manifest's last byte is changed, so that it does not match its digest.
    CorruptManifest,
    /// A manifest has no `Content-Length`.
    NoLength,
    /// The redirect's URL has expired.
    ExpiredUrl,
    /// The CDN closes the connection before this byte of the blob; a slow reader may lose the last 64 KiB before
    /// it.
    CutAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// All tokens expire when the CDN has sent the bytes before this one, and then it closes the connection.
    ExpireAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN stops sending before this byte of the blob, until [`Faults::release`].
    StallAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN sends a wrong value for this byte of the blob.
    CorruptAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN sends a complete response that ends before this byte of the blob.
    TruncateAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN ignores a `Range` field and sends the full blob.
    IgnoreRange,
    /// The CDN's `Content-Range` is off by one.
    WrongRange,
}

/// A fault, with the number of times and the requests that it applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The fault.
    pub fault: Fault,
    /// How many matching requests succeed first.
    #[serde(default)]
    pub after: u32,
    /// How many times it applies; `None` is until it is cleared.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Only requests whose path contains this match.
    #[serde(default)]
    pub path: Option<String>,
}

impl Rule {
    /// The fault, for one request.
    pub fn once(fault: Fault) -> Self {
        Self { fault, after: 0, times: once(), path: None }
    }

    /// The fault, for this number of requests.
    pub fn times(fault: Fault, times: u32) -> Self {
        Self { fault, after: 0, times: Some(times), path: None }
    }

    /// The fault, until it is cleared.
    pub fn always(fault: Fault) -> Self {
        Self { fault, after: 0, times: None, path: None }
    }

    /// Lets this number of matching requests succeed first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Matches only requests whose path contains `part`.
    #[must_use]
    pub fn on(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }
}

/// The armed faults of a stand-in.
pub struct Faults {
    rules: watch::Sender<Vec<Rule>>,
    released: watch::Sender<()>,
}

/// Some armed faults matched no request in time.
#[derive(Debug, thiserror::Error)]
#[error("still armed after {within:?}: {left:?}")]
pub struct FaultWaitError {
    /// How long it waited.
    pub within: Duration,
    /// The rules that are still armed.
    pub left: Vec<Rule>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { rules: watch::Sender::new(Vec::new()), released: watch::Sender::new(()) }
    }

    /// Arms a rule, after those armed before.
    pub fn arm(&self, rule: Rule) {
        self.rules.send_modify(|rules| rules.push(rule));
    }

    /// The rules that are still armed; a test can check that a fault has happened.
    pub fn armed(&self) -> Vec<Rule> {
        self.rules.borrow().clone()
    }

    /// Waits until every armed fault has happened.
    pub async fn wait_until_spent(&self, within: Duration) -> Result<(), FaultWaitError> {
        let mut rules = self.rules.subscribe();
        let spent = tokio::time::timeout(within, rules.wait_for(Vec::is_empty)).await.is_ok();
        if spent { Ok(()) } else { Err(FaultWaitError { within, left: self.armed() }) }
    }

    /// Disarms all faults. Held and stalled responses stay so.
    pub fn clear(&self) {
        self.rules.send_modify(Vec::clear);
    }

    /// Releases all responses that are held or stalled now.
    pub fn release(&self) {
        self.released.send_modify(|()| {});
    }

    /// Takes the first armed fault that matches, once.
    pub(crate) fn take(&self, path: &str, matches: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut taken = None;
        self.rules.send_if_modified(|rules| {
            let applies = |rule: &Rule| {
                matches(&rule.fault) && rule.path.as_ref().is_none_or(|part| path.contains(part))
            };
            let found = rules.iter_mut().enumerate().find_map(|(index, rule)| {
                let passes = applies(rule) && rule.after > 0;
                rule.after -= u32::from(passes);
                (applies(rule) && !passes).then_some(index)
            });
            let Some(index) = found else { return false };
            taken = Some(rules[index].fault.clone());
            if let Some(times) = &mut rules[index].times {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    rules.remove(index);
                }
            }
            true
        });
        taken
    }

    /// The next release after this call. Must be called before [`Self::take`], or a quick release is missed.
    pub(crate) fn next_release(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut released = self.released.subscribe();
        async move {
            // The sender is dropped with the stand-in, when no task waits any more.
            let _ = released.changed().await;
        }
    }
}

// The default of `times` in JSON.
fn once() -> Option<u32> {
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Fault = Fault::CutAt { byte: 5 };

    #[test]
    fn a_fault_happens_as_often_as_its_count() {
        let faults = Faults::new();
        faults.arm(Rule::times(CUT, 2));
        let take = || faults.take("/x", |fault| *fault == CUT);
        assert_eq!((take(), take(), take()), (Some(CUT), Some(CUT), None));
        assert!(faults.armed().is_empty());
    }

    #[test]
    fn a_rule_applies_to_its_path_only() {
        let faults = Faults::new();
        faults.arm(Rule::once(CUT).on("/abc/"));
        assert_eq!(faults.take("/v2/xyz/", |_| true), None);
        assert_eq!(faults.take("/v2/abc/", |_| true), Some(CUT));
    }

    #[test]
    fn a_rule_can_let_requests_succeed_first() {
        let faults = Faults::new();
        faults.arm(Rule::once(CUT).after(2).on("/abc/"));
        let take = |path| faults.take(path, |_| true);
        assert_eq!((take("/abc/"), take("/xyz/"), take("/abc/")), (None, None, None));
        assert_eq!((take("/abc/"), take("/abc/")), (Some(CUT), None));
    }

    #[test]
    fn a_rule_in_json_applies_once_by_default() {
        let parse = |text: &str| serde_json::from_str::<Rule>(text).expect("a rule");
        assert_eq!(parse(r#"{"fault":{"cut_at":{"byte":5}}}"#), Rule::once(CUT));
        assert_eq!(parse(r#"{"fault":"abuse_limit","times":null}"#), Rule::always(Fault::AbuseLimit));
    }
}
