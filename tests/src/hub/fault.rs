//! Scripted faults: what can go wrong upstream, on demand and counted.
//! A fault is taken by the first request it fits; one that fits nothing stays armed.
//! Without a rule the stand-in behaves: nothing here is random.

use std::{future::Future, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::site::Site;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The host answers with this status, in its own error format.
    Status {
        /// Which host.
        site: Site,
        /// Which status.
        status: u16,
        /// A `Retry-After` of so many seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The host answers so much later.
    Delay {
        /// Which host.
        site: Site,
        /// How much later.
        millis: u64,
    },
    /// The host answers only after [`Faults::release`].
    Hold {
        /// Which host.
        site: Site,
    },
    /// The host closes the connection instead of answering.
    HangUp {
        /// Which host.
        site: Site,
    },
    /// The host closes the connection in the middle of what it answers, if that is a success.
    BreakOff {
        /// Which host.
        site: Site,
    },
    /// The host falls silent there, until [`Faults::release`], and then closes.
    FallSilent {
        /// Which host.
        site: Site,
    },
    /// A manifest request gets 429, as JSON with `TOOMANYREQUESTS`.
    PullLimit,
    /// The registry answers 429 as bare text: Hub's abuse limit.
    AbuseLimit,
    /// The registry refuses a good token as invalid.
    InvalidToken,
    /// The token service appends so many bytes to a token, which makes it invalid.
    LongToken {
        /// How many.
        bytes: usize,
    },
    /// A manifest's last byte is another one, so that it doesn't hash to its digest.
    CorruptManifest,
    /// A manifest comes without `Content-Length`.
    NoLength,
    /// A redirect leads to a URL that has expired.
    ExpiredUrl,
    /// The CDN closes the connection before this byte of the blob; a slow reader may miss the last 64 KiB before it.
    CutAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN falls silent before this byte of the blob, until [`Faults::release`].
    StallAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN sends this byte of the blob wrong.
    CorruptAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN claims that the blob ends before this byte, and ends it there cleanly.
    TruncateAt {
        /// Offset in the blob.
        byte: u64,
    },
    /// The CDN sends the whole blob though a range was asked for.
    IgnoreRange,
    /// The CDN's `Content-Range` is off by one.
    WrongRange,
}

/// A fault, how often, and for which requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// How many fitting requests are let pass before.
    #[serde(default)]
    pub after: u32,
    /// How many more times; `None` until cleared.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Only for requests whose path contains this.
    #[serde(default)]
    pub path: Option<String>,
}

impl Rule {
    /// The fault, for one request.
    pub fn once(fault: Fault) -> Self {
        Self { fault, after: 0, times: once(), path: None }
    }

    /// The fault, for so many requests.
    pub fn times(fault: Fault, times: u32) -> Self {
        Self { fault, after: 0, times: Some(times), path: None }
    }

    /// The fault, until it is cleared.
    pub fn always(fault: Fault) -> Self {
        Self { fault, after: 0, times: None, path: None }
    }

    /// Only once `requests` that it fits have gone well.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Only for requests whose path contains `part`.
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

/// Some armed fault met no request in time.
#[derive(Debug, thiserror::Error)]
#[error("still armed after {within:?}: {left:?}")]
pub struct NotSpent {
    /// How long was waited.
    pub within: Duration,
    /// What is left.
    pub left: Vec<Rule>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { rules: watch::Sender::new(Vec::new()), released: watch::Sender::new(()) }
    }

    /// Arms a rule, behind those armed before.
    pub fn arm(&self, rule: Rule) {
        self.rules.send_modify(|rules| rules.push(rule));
    }

    /// What is still armed: a test that armed a fault can check that it happened.
    pub fn armed(&self) -> Vec<Rule> {
        self.rules.borrow().clone()
    }

    /// Waits until every armed fault has met its requests.
    pub async fn wait_until_spent(&self, within: Duration) -> Result<(), NotSpent> {
        let mut rules = self.rules.subscribe();
        let spent = tokio::time::timeout(within, rules.wait_for(Vec::is_empty)).await.is_ok();
        if spent { Ok(()) } else { Err(NotSpent { within, left: self.armed() }) }
    }

    /// Disarms everything. What is held or stalled stays so.
    pub fn clear(&self) {
        self.rules.send_modify(Vec::clear);
    }

    /// Lets go of everything that is held or stalled now.
    pub fn release(&self) {
        self.released.send_modify(|()| {});
    }

    /// The first armed fault that fits, used up by one.
    pub(super) fn take(&self, path: &str, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut taken = None;
        self.rules.send_if_modified(|rules| {
            let fitting =
                |rule: &Rule| fits(&rule.fault) && rule.path.as_ref().is_none_or(|part| path.contains(part));
            let met = rules.iter_mut().enumerate().find_map(|(index, rule)| {
                let waits = fitting(rule) && rule.after > 0;
                rule.after -= u32::from(waits);
                (fitting(rule) && !waits).then_some(index)
            });
            let Some(index) = met else { return false };
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

    /// The next release after this call: to be called before [`Self::take`], or a quick release is missed.
    pub(super) fn next_release(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut released = self.released.subscribe();
        async move {
            // The sender is gone only when the stand-in is, and then nobody waits any more.
            let _ = released.changed().await;
        }
    }
}

// The value that a rule without `times` has in JSON.
fn once() -> Option<u32> {
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Fault = Fault::CutAt { byte: 5 };

    #[test]
    fn a_counted_fault_is_used_up() {
        let faults = Faults::new();
        faults.arm(Rule::times(CUT, 2));
        let take = || faults.take("/x", |fault| *fault == CUT);
        assert_eq!((take(), take(), take()), (Some(CUT), Some(CUT), None));
        assert!(faults.armed().is_empty());
    }

    #[test]
    fn a_rule_waits_for_its_path() {
        let faults = Faults::new();
        faults.arm(Rule::once(CUT).on("/abc/"));
        assert_eq!(faults.take("/v2/xyz/", |_| true), None);
        assert_eq!(faults.take("/v2/abc/", |_| true), Some(CUT));
    }

    #[test]
    fn a_rule_can_let_others_pass_first() {
        let faults = Faults::new();
        faults.arm(Rule::once(CUT).after(2).on("/abc/"));
        let take = |path| faults.take(path, |_| true);
        assert_eq!((take("/abc/"), take("/xyz/"), take("/abc/")), (None, None, None));
        assert_eq!((take("/abc/"), take("/abc/")), (Some(CUT), None));
    }

    #[test]
    fn a_rule_in_json_happens_once_unless_told() {
        let parse = |text: &str| serde_json::from_str::<Rule>(text).expect("a rule");
        assert_eq!(parse(r#"{"fault":{"cut_at":{"byte":5}}}"#), Rule::once(CUT));
        assert_eq!(parse(r#"{"fault":"abuse_limit","times":null}"#), Rule::always(Fault::AbuseLimit));
    }
}
