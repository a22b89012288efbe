//! Why something failed or waits: a text in English, and its cause as a value, which the page says in the user's language.
//!
//! Must never hold a text that was not cleaned.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::{CleanText, clean};
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};

/// Why something failed or waits. As JSON, it is its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) text: CleanText,
    /// `None` where only the text is known.
    pub(crate) cause: Option<Cause>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A hop, in this way.
    Fault {
        /// Which one.
        hop: Hop,
        /// How.
        kind: FaultKind,
    },
    /// The registry refused a request with this status (RFC 9110, section 15).
    Refusal {
        /// The status.
        status: u16,
    },
}

impl From<&Fault> for Cause {
    fn from(fault: &Fault) -> Self {
        Self::Fault { hop: fault.hop, kind: fault.kind }
    }
}

impl From<StatusCode> for Cause {
    fn from(status: StatusCode) -> Self {
        Self::Refusal { status: status.as_u16() }
    }
}

impl From<&Fault> for Reason {
    fn from(fault: &Fault) -> Self {
        Self { text: clean(fault), cause: Some(fault.into()) }
    }
}

impl From<StatusCode> for Reason {
    fn from(status: StatusCode) -> Self {
        Self { text: clean(format_args!("the registry answers {status}")), cause: Some(status.into()) }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text: clean(text), cause: None }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}
