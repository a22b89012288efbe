//! Which header fields cross the tunnel, and which must not.
//!
//! Of a request, only the fields of an allow-list cross it. Of a response, all fields cross it except those
//! of one hop (RFC 9110, section 7.6.1) and those about the origin's host, which must not apply to the
//! user's localhost. Values, order and repeated fields stay the same, byte for byte.

use crate::limits::FIELD_LINES_MAX;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;

/// The digest of the response's content (distribution spec, "Pulling manifests").
pub static DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Request fields with which the response may not be the whole content (RFC 9110, sections 13.1 and 14.2).
pub static CONDITIONAL_FIELDS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// The other fields of an engine that the registry gets. Authorization has its own type.
const FORWARDED_REQUEST_FIELDS: [HeaderName; 3] =
    [header::ACCEPT, header::ACCEPT_ENCODING, header::USER_AGENT];

/// Fields of one hop, and fields about the origin's host: an engine or browser would apply them to
/// `127.0.0.1`, set cookies there, force HTTPS on it or let foreign pages read from it.
const STRIPPED_RESPONSE_FIELDS: [&str; 16] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-authentication-info",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "strict-transport-security",
    "alt-svc",
    "nel",
    "report-to",
    "clear-site-data",
];

/// Header fields in the order in which they were received; a field may have several lines.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, derive_more::Deref, derive_more::DerefMut, derive_more::Into,
)]
pub struct Headers(HeaderMap);

impl Headers {
    /// The fields of an engine's request that the registry gets.
    #[must_use]
    pub fn filter_request(all: &HeaderMap) -> Self {
        Self::selected(all, FORWARDED_REQUEST_FIELDS.iter().chain(&CONDITIONAL_FIELDS))
    }

    /// The fields with these names, with all their lines.
    #[must_use]
    pub fn selected<'a>(all: &HeaderMap, names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let lines_of =
            |name: &'a HeaderName| all.get_all(name).iter().map(move |value| (name.clone(), value.clone()));
        Self(names.into_iter().flat_map(lines_of).collect())
    }

    /// The fields of a registry's response that the engine gets.
    #[must_use]
    pub fn filter_response(all: &HeaderMap) -> Self {
        let connection_options: HashSet<String> = all
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        let mut fields = HeaderMap::new();
        for (name, value) in all {
            let text = name.as_str();
            let is_stripped = STRIPPED_RESPONSE_FIELDS.contains(&text)
                || text.starts_with("access-control-")
                || connection_options.contains(text);
            if !is_stripped && fields.len() < FIELD_LINES_MAX {
                fields.append(name.clone(), value.clone());
            }
        }
        Self(fields)
    }

    /// Whether the request has a field with which the response may not be the whole content.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        CONDITIONAL_FIELDS.iter().any(|name| self.0.contains_key(name))
    }

    /// Removes these fields.
    pub fn remove_conditional_fields(&mut self) {
        for name in &CONDITIONAL_FIELDS {
            self.0.remove(name);
        }
    }

    /// Bytes of all names and values together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }

    /// The first line of a field, if it is visible ASCII.
    #[must_use]
    pub fn get_str(&self, name: &HeaderName) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

/// Whether the content is encoded, so that its bytes are not those of the representation (RFC 9110, section 8.4).
/// Some servers send `identity`, which changes nothing.
#[must_use]
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
    !lines.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // bincode needs the length first, which the map's iterator does not know.
        let lines: Vec<(&str, &[u8])> = self.0.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<(String, Vec<u8>)>::deserialize(deserializer)?;
        if lines.len() > FIELD_LINES_MAX {
            return Err(D::Error::custom(format!(
                "{} field lines, at most {FIELD_LINES_MAX} are allowed",
                lines.len()
            )));
        }
        let mut map = HeaderMap::with_capacity(lines.len());
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(D::Error::custom)?;
            let value = HeaderValue::from_bytes(&value).map_err(D::Error::custom)?;
            map.append(name, value);
        }
        Ok(Self(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn all_accept_lines_of_a_request_stay_in_order() {
        let fields = Headers::filter_request(&map(&[
            ("accept", "application/vnd.oci.image.index.v1+json"),
            ("cookie", "session=1"),
            ("accept", "*/*"),
            ("authorization", "Basic dTpw"),
            ("host", "127.0.0.1"),
            ("range", "bytes=5-"),
        ]));
        let accept: Vec<_> = fields.get_all("accept").iter().collect();
        assert_eq!(accept, ["application/vnd.oci.image.index.v1+json", "*/*"]);
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn conditional_fields_pass_and_can_be_removed() {
        for name in &CONDITIONAL_FIELDS {
            let mut fields = Headers::filter_request(&map(&[(name.as_str(), "\"x\""), ("user-agent", "me")]));
            assert!(fields.is_conditional(), "{name}");
            fields.remove_conditional_fields();
            assert!(!fields.is_conditional() && fields.get_str(&header::USER_AGENT) == Some("me"), "{name}");
        }
    }

    #[test]
    fn a_response_loses_only_the_fields_of_one_hop_or_of_the_origins_host() {
        let fields = Headers::filter_response(&map(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("set-cookie", "a=b"),
            ("docker-content-digest", "sha256:0"),
            ("content-encoding", "gzip"),
            ("warning", "299 - a"),
            ("warning", "299 - b"),
            ("ratelimit-remaining", "99;w=21600"),
        ]));
        let names: Vec<_> = fields.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert_eq!(
            names,
            [
                "docker-content-digest: sha256:0",
                "content-encoding: gzip",
                "warning: 299 - a",
                "warning: 299 - b",
                "ratelimit-remaining: 99;w=21600"
            ]
        );
    }
}
