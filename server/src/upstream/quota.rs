//! What a registry says of its pull limit, remembered between the answers that say it, and what an
//! engine is told when the limit is reached.

use docxy_protocol::error_body;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::text::CleanText;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a registry's word on what is left is passed on: Docker Hub counts in windows of six
/// hours.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// The last word on the quota that pays for public manifests.
#[derive(Debug, Default)]
pub(super) struct LastWord(Mutex<Option<(Quota, Instant)>>);

/// A pull limit as Docker Hub's answers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota(Vec<(HeaderName, HeaderValue)>);

impl LastWord {
    /// Remembers what an answer says, if it says anything.
    pub(super) fn note(&self, headers: &Headers) {
        if let Some(quota) = Quota::of(headers) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((quota, Instant::now()));
        }
    }

    /// Puts it on an answer that the registry didn't give.
    pub(super) fn put_on(&self, headers: &mut Headers) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((Quota(lines), since)) = &*last
            && since.elapsed() < LIFETIME
        {
            for (name, value) in lines {
                headers.set(name.clone(), value.clone());
            }
        }
    }
}

impl Quota {
    /// The quota that an answer speaks of. Registries without a limit say nothing.
    pub(crate) fn of(headers: &Headers) -> Option<Self> {
        let names = [&LIMIT, &REMAINING, &SOURCE];
        let said = |name: &HeaderName| Some((name.clone(), headers.map().get(name)?.clone()));
        let lines: Vec<_> = names.into_iter().filter_map(said).collect();
        (!lines.is_empty()).then_some(Self(lines))
    }

    /// Whether no pull is left.
    pub(super) fn is_gone(&self) -> bool {
        self.text(&REMAINING).and_then(|text| text.split(';').next()) == Some("0")
    }

    /// For people: "97 of 100 pulls in 6 h left, counted for 192.0.2.1".
    pub(crate) fn in_words(&self) -> String {
        let remaining = self.text(&REMAINING).and_then(|text| text.split(';').next()).unwrap_or("?");
        let remaining = CleanText::<20>::from(remaining);
        let limit = self.limit_in_words();
        let source = self.source().map(|source| format!(", counted for {source}"));
        format!("{remaining} of {} left{}", limit.as_deref().unwrap_or("?"), source.unwrap_or_default())
    }

    /// "100 pulls in 6 h", of `100;w=21600`.
    fn limit_in_words(&self) -> Option<String> {
        let (pulls, window) = self.text(&LIMIT)?.split_once(";w=")?;
        let pulls = CleanText::<20>::from(pulls);
        Some(format!("{pulls} pulls in {}", duration(window.parse().ok()?)))
    }

    /// The address or account that is counted.
    fn source(&self) -> Option<CleanText<100>> {
        self.text(&SOURCE).map(CleanText::from)
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name)?.1.to_str().ok()
    }
}

/// Takes out what says how things were when the answer was given, and not what it is.
pub(super) fn without_passing_fields(mut headers: Headers) -> Headers {
    for name in [&LIMIT, &REMAINING, &SOURCE, &header::DATE, &header::AGE, &header::EXPIRES] {
        headers.remove(name);
    }
    headers
}

/// The body of a 429, with what the engine's user can do about it behind the registry's own words.
pub(super) fn explained(registry: &Registry, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let body = error_body::from_upstream(StatusCode::TOO_MANY_REQUESTS, body, "TOOMANYREQUESTS");
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&body) else { return body };
    let Some(message) = document.pointer_mut("/errors/0/message") else { return body };
    let said = CleanText::<500>::from(message.as_str().unwrap_or_default());
    *message = format!("{said} [docxy: {}]", advice(registry, headers)).into();
    document.to_string().into_bytes()
}

fn advice(registry: &Registry, headers: &Headers) -> String {
    let quota = Quota::of(headers);
    let limit = quota.as_ref().and_then(Quota::limit_in_words);
    let source = quota.as_ref().and_then(Quota::source);
    let what = match (limit, source) {
        (Some(limit), Some(source)) => format!("the {limit} that {registry} grants {source} are used up"),
        (Some(limit), None) => format!("the {limit} that {registry} grants are used up"),
        _ => format!("{registry} wants fewer requests"),
    };
    let window = quota.as_ref().and_then(|quota| quota.text(&LIMIT)?.split_once(";w=")?.1.parse().ok());
    let asked = headers.get_str(&header::RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let when = match (asked, window) {
        (Some(seconds), _) => format!("come back in {}", duration(seconds)),
        (None, Some(seconds)) => format!("come back in {} at the latest", duration(seconds)),
        (None, None) => "come back in a while".to_owned(),
    };
    // Users' credentials go to Docker Hub alone.
    let login = if registry.is_docker_hub() {
        "log in with an account of your own (docker login, at docxy-client's address), or have the server's \
         operator name one under [registries.\"docker.io\"]"
            .to_owned()
    } else {
        format!("have the server's operator name an account under [registries.\"{registry}\"]")
    };
    format!("{what}: {when}, or {login}")
}

/// Seconds as people say them, rounded up.
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
    fn a_quota_is_read_as_docker_hub_writes_it() {
        let quota = Quota::of(&headers(&USED_UP)).unwrap();
        assert!(quota.is_gone());
        assert_eq!(quota.in_words(), "0 of 100 pulls in 6 h left, counted for 192.0.2.1");
        let left = Quota::of(&headers(&[("ratelimit-remaining", "10;w=21600")])).unwrap();
        assert!(!left.is_gone());
        assert_eq!(Quota::of(&headers(&[("content-type", "a/b")])), None);
    }

    #[test]
    fn a_429_says_when_to_come_back_and_how_to_log_in() {
        let hub = Registry::docker_hub();
        let message = |registry: &Registry, headers: &Headers, body: &[u8]| {
            let body: serde_json::Value =
                serde_json::from_slice(&explained(registry, headers, body)).unwrap();
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
    fn the_last_word_is_put_on_answers_of_our_own() {
        let last = LastWord::default();
        last.note(&headers(&USED_UP));
        last.note(&headers(&[]));
        let mut answer = headers(&[("ratelimit-remaining", "7;w=21600")]);
        last.put_on(&mut answer);
        assert_eq!(answer.get_str(&REMAINING), Some("0;w=21600"));
    }
}
