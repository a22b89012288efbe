//! Header fields that cross the tunnel, and those that must not.
//!
//! Requests carry what is on a list; answers carry everything but what speaks of one hop (RFC
//! 9110, section 7.6.1) or of the origin's host, which the user's localhost is not. Values and
//! repetitions stay as they are, byte for byte.

use crate::limits::FIELD_LINES_MAX;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;

/// Which content an answer is about (distribution spec, "Pulling manifests").
pub static DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What makes an answer another one than the content as a whole (RFC 9110, sections 13.1 and 14.2).
pub static CONDITIONAL_FIELDS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// What else an engine may say to a registry. Authorization travels as a type of its own.
const FORWARDED_REQUEST_FIELDS: [HeaderName; 3] =
    [header::ACCEPT, header::ACCEPT_ENCODING, header::USER_AGENT];

/// Fields of one hop, and fields by which an origin speaks about its own host: believing them of
/// `127.0.0.1` would set cookies there, force HTTPS on it or let foreign pages read from it.
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

/// Header fields in the order in which they came; one field may have several lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(HeaderMap);

impl Headers {
    /// What of an engine's request goes to the registry.
    #[must_use]
    pub fn filter_request(all: &HeaderMap) -> Self {
        let mut kept = HeaderMap::new();
        for name in FORWARDED_REQUEST_FIELDS.iter().chain(&CONDITIONAL_FIELDS) {
            for value in all.get_all(name) {
                kept.append(name.clone(), value.clone());
            }
        }
        Self(kept)
    }

    /// What of a registry's answer goes to the engine.
    #[must_use]
    pub fn filter_response(all: &HeaderMap) -> Self {
        let named: HashSet<String> = all
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        let mut kept = HeaderMap::new();
        for (name, value) in all {
            let text = name.as_str();
            let dropped = STRIPPED_RESPONSE_FIELDS.contains(&text)
                || text.starts_with("access-control-")
                || named.contains(text);
            if !dropped && kept.len() < FIELD_LINES_MAX {
                kept.append(name.clone(), value.clone());
            }
        }
        Self(kept)
    }

    /// The fields.
    #[must_use]
    pub fn map(&self) -> &HeaderMap {
        &self.0
    }

    /// The fields, to change or to keep.
    #[must_use]
    pub fn into_map(self) -> HeaderMap {
        self.0
    }

    /// Sets a field, whatever it was.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert(name, value);
    }

    /// Adds a line to a field.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append(name, value);
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.remove(name);
    }

    /// Whether the answer may be another one than the content as a whole.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        CONDITIONAL_FIELDS.iter().any(|name| self.0.contains_key(name))
    }

    /// Takes out what makes it so.
    pub fn remove_conditional_fields(&mut self) {
        for name in &CONDITIONAL_FIELDS {
            self.0.remove(name);
        }
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }

    /// The text of a field's first line.
    #[must_use]
    pub fn get_str(&self, name: &HeaderName) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // bincode wants the length first, which the map's iterator doesn't know.
        let lines: Vec<(&str, &[u8])> = self.0.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<(String, Vec<u8>)>::deserialize(deserializer)?;
        if lines.len() > FIELD_LINES_MAX {
            return Err(D::Error::custom(format!("{} header lines, at most {FIELD_LINES_MAX}", lines.len())));
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
    fn every_accept_line_of_a_request_is_kept_in_order() {
        let kept = Headers::filter_request(&map(&[
            ("accept", "application/vnd.oci.image.index.v1+json"),
            ("cookie", "session=1"),
            ("accept", "*/*"),
            ("authorization", "Basic dTpw"),
            ("host", "127.0.0.1"),
            ("range", "bytes=5-"),
        ]));
        let accept: Vec<_> = kept.map().get_all("accept").iter().collect();
        assert_eq!(accept, ["application/vnd.oci.image.index.v1+json", "*/*"]);
        assert_eq!(kept.map().len(), 3);
    }

    #[test]
    fn conditions_are_passed_on_and_can_be_taken_out() {
        for name in &CONDITIONAL_FIELDS {
            let mut kept = Headers::filter_request(&map(&[(name.as_str(), "\"x\""), ("user-agent", "me")]));
            assert!(kept.is_conditional(), "{name}");
            kept.remove_conditional_fields();
            assert!(!kept.is_conditional() && kept.get_str(&header::USER_AGENT) == Some("me"), "{name}");
        }
    }

    #[test]
    fn an_answer_loses_its_hop_and_its_origin_and_nothing_else() {
        let kept = Headers::filter_response(&map(&[
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
        let names: Vec<_> = kept.map().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
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
