//! A registry's pull limit, as its responses report it, and the error text for an engine when the limit is
//! reached.

use docxy_protocol::error_body;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::text::CleanText;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a reported rate limit is repeated in other responses: Docker Hub counts in windows of
/// 6 hours.
const REPORTED_LIMIT_LIFETIME: Duration = Duration::from_secs(6 * 3600);

static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// The rate limit that was last reported for public manifests.
#[derive(Debug, Default)]
pub(in crate::upstream) struct LastRateLimit(Mutex<Option<(RateLimit, Instant)>>);

/// A pull limit, as Docker Hub's responses report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateLimit(Vec<(HeaderName, HeaderValue)>);

impl LastRateLimit {
    /// Records the rate limit of a response, if it reports one.
    pub(in crate::upstream) fn record(&self, headers: &Headers) {
        if let Some(quota) = RateLimit::from_headers(headers) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((quota, Instant::now()));
        }
    }

    /// Adds it to a response that the registry didn't send.
    pub(in crate::upstream) fn add_to(&self, headers: &mut Headers) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((RateLimit(fields), since)) = &*last
            && since.elapsed() < REPORTED_LIMIT_LIFETIME
        {
            for (name, value) in fields {
                headers.set(name.clone(), value.clone());
            }
        }
    }
}

impl RateLimit {
    /// The rate limit that a response reports. Registries without a limit report none.
    pub(crate) fn from_headers(headers: &Headers) -> Option<Self> {
        let names = [&LIMIT, &REMAINING, &SOURCE];
        let field = |name: &HeaderName| Some((name.clone(), headers.map().get(name)?.clone()));
        let fields: Vec<_> = names.into_iter().filter_map(field).collect();
        (!fields.is_empty()).then_some(Self(fields))
    }

    /// Whether no pull is left.
    pub(in crate::upstream) fn is_exhausted(&self) -> bool {
        self.text(&REMAINING).and_then(|text| text.split(';').next()) == Some("0")
    }

    /// For people: "97 of 100 pulls in 6 h left, counted for 192.0.2.1".
    pub(crate) fn describe(&self) -> String {
        let remaining = self.text(&REMAINING).and_then(|text| text.split(';').next()).unwrap_or("?");
        let remaining = CleanText::<20>::from(remaining);
        let limit = self.describe_limit();
        let source = self.source().map(|source| format!(", counted for {source}"));
        format!("{remaining} of {} left{}", limit.as_deref().unwrap_or("?"), source.unwrap_or_default())
    }

    /// "100 pulls in 6 h", of `100;w=21600`.
    fn describe_limit(&self) -> Option<String> {
        let (pulls, window) = self.text(&LIMIT)?.split_once(";w=")?;
        let pulls = CleanText::<20>::from(pulls);
        Some(format!("{pulls} pulls in {}", duration(window.parse().ok()?)))
    }

    /// The address or account that is counted.
    fn source(&self) -> Option<CleanText<100>> {
        self.text(&SOURCE).map(CleanText::from)
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name)?.1.to_str().ok()
    }
}

/// Removes the fields that describe the moment of the response, and not the manifest.
pub(in crate::upstream) fn without_volatile_fields(mut headers: Headers) -> Headers {
    for name in [&LIMIT, &REMAINING, &SOURCE, &header::DATE, &header::AGE, &header::EXPIRES] {
        headers.remove(name);
    }
    headers
}

/// The body of a 429, with advice for the engine's user after the registry's own message.
pub(in crate::upstream) fn explain(registry: &Registry, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let body = error_body::from_upstream(StatusCode::TOO_MANY_REQUESTS, body, "TOOMANYREQUESTS");
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&body) else { return body };
    let Some(message) = document.pointer_mut("/errors/0/message") else { return body };
    let original = CleanText::<500>::from(message.as_str().unwrap_or_default());
    *message = format!("{original} [docxy: {}]", advice(registry, headers)).into();
    document.to_string().into_bytes()
}

fn advice(registry: &Registry, headers: &Headers) -> String {
    let rate_limit = RateLimit::from_headers(headers);
    let limit = rate_limit.as_ref().and_then(RateLimit::describe_limit);
    let source = rate_limit.as_ref().and_then(RateLimit::source);
    let what = match (limit, source) {
        (Some(limit), Some(source)) => format!("the {limit} that {registry} grants {source} are used up"),
        (Some(limit), None) => format!("the {limit} that {registry} grants are used up"),
        _ => format!("{registry} wants fewer requests"),
    };
    let window = rate_limit.as_ref().and_then(|limit| limit.text(&LIMIT)?.split_once(";w=")?.1.parse().ok());
    let retry_after = headers.get_str(&header::RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let when = match (retry_after, window) {
        (Some(seconds), _) => format!("come back in {}", duration(seconds)),
        (None, Some(seconds)) => format!("come back in {} at the latest", duration(seconds)),
        (None, None) => "come back in a while".to_owned(),
    };
    // Users' credentials are forwarded to Docker Hub only.
    let login = if registry.is_docker_hub() {
        "log in with an account of your own (docker login, at docxy-client's address), or have the server's \
         operator name one under [registries.\"docker.io\"]"
            .to_owned()
    } else {
        format!("have the server's operator name an account under [registries.\"{registry}\"]")
    };
    format!("{what}: {when}, or {login}")
}

/// A duration in s, min or h, rounded up.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Headers::filter_response(&lines.iter().map(line).collect::<HeaderMap>())
    }

    const USED_UP: [(&str, &str); 3] = [
        ("ratelimit-limit", "100;w=21600"),
        ("ratelimit-remaining", "0;w=21600"),
        ("docker-ratelimit-source", "192.0.2.1"),
    ];

    #[test]
    fn docker_hubs_rate_limit_fields_are_parsed() {
        let rate_limit = RateLimit::from_headers(&headers(&USED_UP)).unwrap();
        assert!(rate_limit.is_exhausted());
        assert_eq!(rate_limit.describe(), "0 of 100 pulls in 6 h left, counted for 192.0.2.1");
        let left = RateLimit::from_headers(&headers(&[("ratelimit-remaining", "10;w=21600")])).unwrap();
        assert!(!left.is_exhausted());
        assert_eq!(RateLimit::from_headers(&headers(&[("content-type", "a/b")])), None);
    }

    #[test]
    fn a_429_explains_when_to_retry_and_how_to_log_in() {
        let hub = Registry::docker_hub();
        let message = |registry: &Registry, headers: &Headers, body: &[u8]| {
            let body: serde_json::Value = serde_json::from_slice(&explain(registry, headers, body)).unwrap();
            assert_eq!(body["errors"][0]["code"], "TOOMANYREQUESTS");
            body["errors"][0]["message"].as_str().unwrap().to_owned()
        };
        let own = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"limit"}]}"#;
        let text = message(&hub, &headers(&USED_UP), own);
        let start = "limit [docxy: the 100 pulls in 6 h that docker.io grants 192.0.2.1 are used up: come back in \
                     6 h at the latest, or log in";
        assert!(text.starts_with(start), "{text}");
        let text = message(&hub, &headers(&[("retry-after", "120")]), b"Too Many Requests");
        assert!(text.starts_with("Too Many Requests [docxy: docker.io wants fewer"), "{text}");
        assert!(text.contains("come back in 2 min"), "{text}");
        let text = message(&"ghcr.io".parse().unwrap(), &headers(&[]), b"");
        assert!(text.contains("under [registries.\"ghcr.io\"]") && !text.contains("log in"), "{text}");
    }

    #[test]
    fn the_last_rate_limit_is_added_to_stored_responses() {
        let last = LastRateLimit::default();
        last.record(&headers(&USED_UP));
        last.record(&headers(&[]));
        let mut response = headers(&[("ratelimit-remaining", "7;w=21600")]);
        last.add_to(&mut response);
        assert_eq!(response.get_str(&REMAINING), Some("0;w=21600"));
    }
}
