//! Why something failed or waits: a text in English, and its cause as a value, which the page says in the user's language.
//!
//! Must never hold a text that was not cleaned.

pub use docxy_host::web_page::Cause;
use docxy_protocol::fault::Fault;
use docxy_protocol::text::{CleanText, clean};
use http::StatusCode;
use serde::{Serialize, Serializer};

/// Why something failed or waits. As JSON, it is its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) text: CleanText,
    /// `None` where only the text is known.
    pub(crate) cause: Option<Cause>,
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
