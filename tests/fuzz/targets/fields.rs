//! Fields that both sides read: a media type in the first line, one field in each of the others. The media type
//! is accepted once it is named, and what is read of a limit or a delay was written in digits. Any user agent is read.
#![no_main]

use docxy_protocol::accept::{accepts, essence};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::headers::{Headers, is_encoded};
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::retry_after::retry_after;
use docxy_protocol::user_agent::UserAgent;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let media_type = lines.next().unwrap_or_default();
    let mut map = HeaderMap::new();
    for (name, value) in lines.take(50).filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            map.append(name, value);
        }
    }
    let name = essence(media_type);
    assert_eq!(essence(&name), name);
    assert_eq!(accepts(&map, media_type), accepts(&map, &name));
    if let Ok(named) = HeaderValue::from_str(&name)
        && named.to_str().is_ok()
        && !name.contains(',')
    {
        map.append(header::ACCEPT, named);
        assert!(accepts(&map, media_type), "{name}");
    }
    let has_digits = |name: &HeaderName, number: u64| {
        let text = map.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.trim_start_matches([' ', '\t', '0']).starts_with(&number.to_string()) || number == 0
    };
    if let Some(delay) = retry_after(&map).filter(|delay| *delay < Duration::MAX) {
        assert!(has_digits(&header::RETRY_AFTER, delay.as_secs()));
    }
    if let Some(limit) = RateLimit::from_headers(&Headers::filter_response(&map)) {
        assert!(limit.limit.is_some() || limit.remaining.is_some());
    }
    if let Some(first) = UserAgent::of_request(&map).first() {
        assert!(map.contains_key(header::USER_AGENT));
        let _ = first.major_minor();
    }
    assert!(!is_encoded(&map) || map.contains_key(header::CONTENT_ENCODING));
    assert!(Challenge::of_response(&map).next().is_none() || map.contains_key(header::WWW_AUTHENTICATE));
});
