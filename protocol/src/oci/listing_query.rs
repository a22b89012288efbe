//! The query of a listing: `n=100&last=b`.
//!
//! Must stay opaque: registries paginate with parameters of their own (`last`, `next_page`), and the query
//! of a `Link` field that a registry sent must return to it unchanged. A query cannot change the host or
//! the path, so it is enough to limit its length and its characters.

use serde::{Deserialize, Serialize};

/// The query is invalid or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query has characters that RFC 3986 does not allow there, or more than 2048 bytes")]
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
            .filter(|pair| !pair.is_empty() && *pair != "ns" && !pair.starts_with("ns="))
            .collect();
        pairs.join("&").try_into()
    }

    /// The query with its `?`; empty if there is no query.
    #[must_use]
    pub fn suffix(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("?{}", self.0) }
    }
}

impl TryFrom<String> for ListingQuery {
    type Error = ListingQueryError;

    fn try_from(text: String) -> Result<Self, ListingQueryError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
        if text.len() <= 2048 && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(ListingQueryError) }
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
        assert!(ListingQuery::from_query(Some("a b")).is_err());
        assert!(ListingQuery::from_query(Some("a#b")).is_err());
        assert!(ListingQuery::from_query(Some(&"a".repeat(2049))).is_err());
    }
}
