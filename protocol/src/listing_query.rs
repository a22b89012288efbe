//! The query of a listing: `n=100&last=b`.
//!
//! Opaque on purpose: registries page with keys of their own (`last`, `next_page`), and a `Link`
//! that one of them sent has to come back as it was. A query cannot change the host or the path,
//! so bounding its length and its characters is enough.

use serde::{Deserialize, Serialize};

/// Why a query was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query has characters that RFC 3986 does not allow there, or more than 2048 bytes")]
pub struct ListingQueryError;

/// A query to hand on, without the leading `?`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListingQuery(String);

impl ListingQuery {
    /// Takes over what a request's query has beside `ns`, which is containerd's word to us.
    ///
    /// # Errors
    /// Where the query is no query or too long.
    pub fn from_query(query: Option<&str>) -> Result<Self, ListingQueryError> {
        let kept: Vec<&str> = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty() && *pair != "ns" && !pair.starts_with("ns="))
            .collect();
        kept.join("&").try_into()
    }

    /// The query with its `?`, or nothing.
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

impl From<ListingQuery> for String {
    fn from(page: ListingQuery) -> String {
        page.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_the_registrys_keys_and_drops_ours() {
        let suffix = |q| ListingQuery::from_query(q).unwrap().suffix();
        assert_eq!(suffix(None), "");
        assert_eq!(suffix(Some("ns=docker.io")), "");
        assert_eq!(suffix(Some("n=2&ns=docker.io&last=a%2Fb")), "?n=2&last=a%2Fb");
        assert!(ListingQuery::from_query(Some("a b")).is_err());
        assert!(ListingQuery::from_query(Some("a#b")).is_err());
        assert!(ListingQuery::from_query(Some(&"a".repeat(2049))).is_err());
    }
}
