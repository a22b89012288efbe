//! The last errors, each with what to do, for the page and `status`.
//!
//! Only records. Must never hold more than a few, or a text that was not cleaned.

use super::reason::Cause;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::{CleanText, clean};
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Display;

/// Maximum number of different errors.
const ERRORS_MAX: usize = 20;

/// Errors, the latest last.
#[derive(Debug, Default)]
pub(crate) struct RecentErrors(Mutex<VecDeque<RecentError>>);

/// An error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentError {
    /// When it happened last.
    pub at: Timestamp,
    /// How often.
    pub count: u64,
    /// What is wrong.
    pub text: CleanText,
    /// The same as a value.
    pub cause: Cause,
    /// The image that was pulled, if it was for one.
    pub image: Option<String>,
    /// What to do.
    pub advice: Advice,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing: the client tries again by itself.
    Wait,
    /// See which hop is broken.
    Doctor,
    /// Get another link.
    NewLink,
    /// The operator has to list the registry.
    ListRegistry,
    /// The pulls are used up: log in, or wait.
    Quota,
    /// Log in to the registry.
    LogIn,
    /// See whether the image's name is right.
    CheckName,
    /// The registry fails: see from the server what is wrong with it.
    CheckRegistry,
    /// Pull again.
    PullAgain,
}

impl RecentErrors {
    /// Records an error, each by its text and image once.
    pub(crate) fn record(&self, text: impl Display, cause: Cause, image: Option<String>, advice: Advice) {
        let (at, text) = (Timestamp::now(), clean(text));
        let mut errors = self.0.lock();
        let known = errors.iter().position(|error| error.text == text && error.image == image);
        let count = known.and_then(|position| errors.remove(position)).map_or(0, |error| error.count);
        if errors.len() >= ERRORS_MAX {
            errors.pop_front();
        }
        errors.push_back(RecentError { at, count: count + 1, text, cause, image, advice });
    }

    /// A fault that an engine's request ended with. What is wrong with the request itself is for its sender, who may be
    /// any web page.
    pub(crate) fn record_fault(&self, fault: &Fault, image: Option<String>) {
        if fault.hop != Hop::Engine {
            self.record(fault, fault.into(), image, Advice::of(fault));
        }
    }

    /// A registry's refusal of an image.
    pub(crate) fn record_refusal(&self, status: StatusCode, image: String) {
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Advice::LogIn,
            StatusCode::NOT_FOUND => Advice::CheckName,
            StatusCode::TOO_MANY_REQUESTS => Advice::Quota,
            _ => Advice::CheckRegistry,
        };
        self.record(format_args!("registry: it answers {status}"), status.into(), Some(image), advice);
    }

    /// The errors, the latest last.
    pub(crate) fn all(&self) -> Vec<RecentError> {
        self.0.lock().iter().cloned().collect()
    }
}

impl Advice {
    fn of(fault: &Fault) -> Self {
        match (fault.hop, fault.kind) {
            (Hop::Tunnel, FaultKind::Refused) => Self::NewLink,
            (_, FaultKind::RegistryNotServed) => Self::ListRegistry,
            (Hop::Registry | Hop::TokenService, FaultKind::Overloaded) => Self::Quota,
            (_, FaultKind::CredentialExpired) => Self::LogIn,
            (_, FaultKind::Mismatch | FaultKind::Truncated) => Self::PullAgain,
            (Hop::Server, FaultKind::Overloaded) => Self::Wait,
            (hop, _) if hop.is_upstream() => Self::CheckRegistry,
            _ => Self::Doctor,
        }
    }

    /// What to do, in English.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Wait => "nothing to do: it goes on by itself",
            Self::Doctor => "docxy-client doctor says which hop is broken",
            Self::NewLink => "ask the operator for a new link, then: docxy-client join",
            Self::ListRegistry => "the operator of the server has to list this registry",
            Self::Quota => "wait, or use an account: docxy-client login",
            Self::LogIn => "log in: docxy-client login REGISTRY",
            Self::CheckName => "check the name and the tag; a private image needs docxy-client login",
            Self::CheckRegistry => "the registry fails; on the server, docxy-server check says more",
            Self::PullAgain => "pull again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_repeats_is_listed_once_and_last() {
        let errors = RecentErrors::default();
        let fault = |detail: &str| Fault::new(Hop::Registry, FaultKind::Unreachable, detail);
        for detail in ["a", "b\r\n\u{202e}", "a"] {
            errors.record_fault(&fault(detail), None);
        }
        errors.record_fault(&Fault::new(Hop::Engine, FaultKind::HostNotServed, "a web page"), None);
        let all: Vec<_> =
            errors.all().into_iter().map(|error| (error.text.to_string(), error.count)).collect();
        assert_eq!(all, [("registry: b".to_owned(), 1), ("registry: a".into(), 2)]);
        for n in 0..100 {
            errors.record_refusal(StatusCode::NOT_FOUND, format!("image {n}"));
        }
        let all = errors.all();
        assert_eq!((all.len(), all[19].advice), (ERRORS_MAX, Advice::CheckName));
    }
}
