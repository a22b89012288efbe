//! A registry's pull limit, as its responses report it, and the error text for an engine when the limit is
//! reached.

use docxy_protocol::error_body;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::rate_limit::{FIELDS, RESET_FIELDS, RateLimit, reset};
use docxy_protocol::retry_after::retry_after;
use docxy_protocol::text::CleanText;
use http::{StatusCode, header};
use parking_lot::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// How long a reported rate limit is repeated in other responses: Docker Hub counts in windows of
/// 6 hours.
const REPORTED_LIMIT_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// The rate limit that was last reported for public manifests.
#[derive(Debug, Default)]
pub(crate) struct LastRateLimit(Mutex<Option<ReportedLimit>>);

#[derive(Debug)]
struct ReportedLimit {
    fields: Headers,
    at: Instant,
    times: Times,
}

/// When a rate limit was reported, and when the registry resets it, if it says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) at: SystemTime,
    pub(crate) resets_at: Option<SystemTime>,
}

impl LastRateLimit {
    /// Records the rate limit of a response, if it reports one.
    pub(crate) fn record(&self, headers: &Headers) {
        if RateLimit::from_headers(headers).is_some() {
            let fields = Headers::selected(headers, &FIELDS);
            let at = SystemTime::now();
            let times = Times { at, resets_at: reset(headers, at) };
            *self.0.lock() = Some(ReportedLimit { fields, at: Instant::now(), times });
        }
    }

    /// The last one, while it may still hold.
    pub(crate) fn last(&self) -> Option<(RateLimit, Times)> {
        let reported = self.0.lock();
        let ReportedLimit { fields, at, times } = reported.as_ref()?;
        let limit = RateLimit::from_headers(fields).filter(|_| at.elapsed() < REPORTED_LIMIT_LIFETIME)?;
        Some((limit, *times))
    }

    /// Adds it to a response that the registry did not send.
    pub(crate) fn add_to(&self, headers: &mut Headers) {
        if let Some(ReportedLimit { fields, at, .. }) = &*self.0.lock()
            && at.elapsed() < REPORTED_LIMIT_LIFETIME
        {
            for (name, value) in fields.iter() {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

/// For people: "97 of 100 pulls in 6 h left, counted for 192.0.2.1".
pub(crate) fn describe(limit: &RateLimit) -> String {
    let remaining = limit.remaining.map_or_else(|| "?".into(), |remaining| remaining.to_string());
    let allowed = describe_allowed(limit).unwrap_or_else(|| "?".into());
    let source = limit.source.as_ref().map(|source| format!(", counted for {source}"));
    format!("{remaining} of {allowed} left{}", source.unwrap_or_default())
}

/// "100 pulls in 6 h".
fn describe_allowed(limit: &RateLimit) -> Option<String> {
    Some(format!("{} pulls in {}", limit.limit?, describe_duration(limit.window?)))
}

/// Removes the fields that describe the moment of the response, and not the manifest.
pub(crate) fn without_volatile_fields(mut headers: Headers) -> Headers {
    for name in FIELDS.iter().chain(&RESET_FIELDS).chain(&[header::DATE, header::AGE, header::EXPIRES]) {
        headers.remove(name);
    }
    headers
}

/// The body of a 429, with advice for the engine's user after the registry's own message.
pub(crate) fn explain(registry: &Registry, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let body = error_body::from_upstream(StatusCode::TOO_MANY_REQUESTS, body, "TOOMANYREQUESTS");
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&body) else { return body };
    let Some(message) = document.pointer_mut("/errors/0/message") else { return body };
    let original = CleanText::<500>::from(message.as_str().unwrap_or_default());
    *message = format!("{original} [docxy: {}]", advice(registry, headers)).into();
    document.to_string().into_bytes()
}

fn advice(registry: &Registry, headers: &Headers) -> String {
    let rate_limit = RateLimit::from_headers(headers);
    let limit = rate_limit.as_ref().and_then(describe_allowed);
    let source = rate_limit.as_ref().and_then(|limit| limit.source.as_ref());
    let what = match (limit, source) {
        (Some(limit), Some(source)) => format!("the {limit} that {registry} grants {source} are used up"),
        (Some(limit), None) => format!("the {limit} that {registry} grants are used up"),
        _ => format!("{registry} limits requests"),
    };
    let window = rate_limit.as_ref().and_then(|limit| limit.window);
    let delay = retry_after(headers).filter(|delay| *delay < Duration::MAX);
    let when = match (delay, window) {
        (Some(delay), _) => format!("try again in {}", describe_duration(delay)),
        (None, Some(window)) => format!("try again in {} at the latest", describe_duration(window)),
        (None, None) => "try again in a while".to_owned(),
    };
    format!(
        "{what}: {when}, or log in with an account of your own (docxy-client login {registry}), or have the server's \
         operator name one under [registries.\"{registry}\"]"
    )
}

/// A duration in s, min or h, rounded up.
fn describe_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=90 => format!("{seconds} s"),
        seconds @ 91..=5400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Headers::filter_response(&lines.iter().map(line).collect::<HeaderMap>())
    }

    const LIMIT_ERROR_CODES: [(&str, &str); 3] = [
        ("ratelimit-limit", "100;w=21600"),
        ("ratelimit-remaining", "0;w=21600"),
        ("docker-ratelimit-source", "192.0.2.1"),
    ];

    #[test]
    fn a_rate_limit_is_described() {
        let rate_limit = RateLimit::from_headers(&headers(&LIMIT_ERROR_CODES)).unwrap();
        assert_eq!(describe(&rate_limit), "0 of 100 pulls in 6 h left, counted for 192.0.2.1");
        let left = RateLimit::from_headers(&headers(&[("ratelimit-remaining", "10;w=21600")])).unwrap();
        assert_eq!(describe(&left), "10 of ? left");
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
        let text = message(&hub, &headers(&LIMIT_ERROR_CODES), own);
        let start = "limit [docxy: the 100 pulls in 6 h that docker.io grants 192.0.2.1 are used up: try again in \
                     6 h at the latest, or log in";
        assert!(text.starts_with(start), "{text}");
        let text = message(&hub, &headers(&[("retry-after", "120")]), b"Too Many Requests");
        assert!(text.starts_with("Too Many Requests [docxy: docker.io limits requests"), "{text}");
        assert!(text.contains("try again in 2 min"), "{text}");
        let text = message(&"ghcr.io".parse().unwrap(), &headers(&[]), b"");
        assert!(text.contains("under [registries.\"ghcr.io\"]") && text.contains("login ghcr.io"), "{text}");
    }

    #[test]
    fn the_last_rate_limit_is_added_to_stored_responses() {
        let last = LastRateLimit::default();
        last.record(&headers(&LIMIT_ERROR_CODES));
        last.record(&headers(&[]));
        let mut response = headers(&[("ratelimit-remaining", "7;w=21600")]);
        last.add_to(&mut response);
        assert_eq!(response.get_str(&FIELDS[1]), Some("0;w=21600"));
    }
}
