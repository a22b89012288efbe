//! The bytes of a blob in a response, by its status, length and header fields: `STATUS LENGTH REACHED` in
//! the first line, one field in each of the others. The client accepts no range that the server does not,
//! and both resume only with the remaining bytes.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut numbers = lines.next().unwrap_or_default().split(' ').map(str::parse::<u64>);
    let (Some(Ok(status)), Some(Ok(length)), Some(Ok(reached))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return;
    };
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.take(20).filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let near = docxy_client::transfer::fuzz::span(status, &headers, length);
    let far = docxy_server::fuzz::expected_body(status, &headers, length, reached);
    if let Some((bytes, total)) = near {
        assert!(bytes.end - bytes.start == length && bytes.end <= total);
        assert_eq!(far, Some((bytes, Some(total))));
    }
});
