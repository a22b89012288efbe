//! The query of a listing: `n=100&last=b`.
//!
//! Must stay opaque: registries paginate with parameters of their own (`last`, `next_page`), and the query
//! of a `Link` field that a registry sent must return to it unchanged. A query cannot change the host or
//! the path, so it is enough to limit its length and its characters.

use serde::{Deserialize, Serialize};

/// Bytes of a query, at most. Some registries put a signed position of a kibibyte or two into it.
const QUERY_BYTES_MAX: usize = 8 * 1024;

/// The query is invalid or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the query has other characters than visible ASCII, a fragment, or more than {QUERY_BYTES_MAX} bytes"
)]
pub struct ListingQueryError;

/// A query for the registry, without the leading `?`.
#[derive(Debug, Clone, Default, PartialEq, Eq, derive_more::Into, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListingQuery(String);

impl ListingQuery {
    /// The query of an engine's request without `ns`, which containerd adds for the mirror.
    ///
    /// # Errors
    /// If the query is invalid or too long.
    pub fn from_query(query: Option<&str>) -> Result<Self, ListingQueryError> {
        let pairs: Vec<&str> = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty() && !is_namespace(pair))
            .collect();
        pairs.join("&").try_into()
    }

    /// The query with its `?`; empty if there is no query.
    #[must_use]
    pub fn suffix(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("?{}", self.0) }
    }
}

/// Whether this pair of a query names the registry.
fn is_namespace(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).all(|(name, _)| name == "ns")
}

impl TryFrom<String> for ListingQuery {
    type Error = ListingQueryError;

    fn try_from(text: String) -> Result<Self, ListingQueryError> {
        // Also what RFC 3986 does not allow: some registries put it into their links.
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'#';
        if text.len() <= QUERY_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(ListingQueryError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_query_keeps_everything_but_ns() {
        let suffix = |q| ListingQuery::from_query(q).unwrap().suffix();
        assert_eq!(suffix(None), "");
        assert_eq!(suffix(Some("ns=docker.io")), "");
        assert_eq!(suffix(Some("n=2&ns=docker.io&last=a%2Fb")), "?n=2&last=a%2Fb");
        assert_eq!(suffix(Some("last={a}|[b]\"")), "?last={a}|[b]\"");
        assert_eq!(suffix(Some("%6es=docker.io&nst=1&last='a'")), "?nst=1&last='a'");
        assert!(ListingQuery::from_query(Some("a b")).is_err());
        assert!(ListingQuery::from_query(Some("a#b")).is_err());
        assert!(ListingQuery::from_query(Some("a\u{e9}")).is_err());
        assert!(ListingQuery::from_query(Some(&"a".repeat(QUERY_BYTES_MAX + 1))).is_err());
    }
}
