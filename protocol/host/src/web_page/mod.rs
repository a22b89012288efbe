//! What the pages of both programs share: their look, the choice of a language, and the fields that keep other pages out.
//! Beside it each page has a `words.js`, the one table of its words.
//!
//! Must never let a page load something from another host, or show itself in a frame.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// A file of a page: its name, its media type, its content.
pub type PageFile = (&'static str, &'static str, &'static str);

/// The media types.
pub const HTML: &str = "text/html; charset=utf-8";
/// See [`HTML`].
pub const STYLE: &str = "text/css; charset=utf-8";
/// See [`HTML`].
pub const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files that both pages have.
pub const SHARED_FILES: [PageFile; 4] = [
    ("style.css", STYLE, include_str!("style.css")),
    ("elements.js", SCRIPT, include_str!("elements.js")),
    ("language.js", SCRIPT, include_str!("language.js")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// What failed, as a value that a page says in the language of its user.
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

/// No other host has a part in the page, and no page has it in a frame (Content Security Policy Level 3).
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the fields with which nothing of a page is kept, guessed at, framed, or told to other hosts.
pub fn protect(headers: &mut HeaderMap) {
    let fields: [(HeaderName, &str); 7] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob_store::StoreCause;
    use std::fmt::Debug;

    #[test]
    fn each_fault_is_said_in_chinese() {
        // In English, the fault's own text is said.
        let (_, chinese) = include_str!("language.js").split_once("zh: {").unwrap();
        let word = |prefix: &str, value: &dyn Debug| format!("{prefix}_{value:?}: \"");
        let hops = (0..).map_while(|number| Hop::try_from(number).ok()).map(|hop| word("hop", &hop));
        let kinds =
            (0..).map_while(|number| FaultKind::try_from(number).ok()).map(|kind| word("kind", &kind));
        assert_eq!(hops.chain(kinds).find(|word| !chinese.contains(word)), None);
    }

    #[test]
    fn each_cause_is_said_in_chinese() {
        let (english, chinese) = include_str!("language.js").split_once("zh: {").unwrap();
        let fault = Cause::Fault { hop: Hop::Cdn, kind: FaultKind::Down };
        for cause in [fault, Cause::Refusal { status: 404 }] {
            // Another variant needs words, and a place in this list.
            let (Cause::Fault { .. } | Cause::Refusal { .. }) = cause;
            let json = serde_json::to_value(cause).unwrap();
            let word = format!(" {}: \"", json.as_object().unwrap().keys().next().unwrap());
            assert!(english.contains(&word) && chinese.contains(&word), "{word}");
        }
        let stores = (0..=u8::MAX).map_while(|number| StoreCause::try_from(number).ok());
        let key = |cause| serde_json::to_value(cause).unwrap().as_str().unwrap().to_owned();
        let words: Vec<_> = stores.map(|cause| format!(" store_{}: \"", key(cause))).collect();
        assert!(words.len() > 1);
        assert_eq!(words.iter().find(|word| !chinese.contains(*word)), None);
    }
}
