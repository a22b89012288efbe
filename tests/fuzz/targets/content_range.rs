//! The bytes of a blob in a response, by its status, length and header fields: `STATUS LENGTH RECEIVED` in
//! the first line, one field in each of the others. Only the rest of an understood range continues it.
#![no_main]

use docxy_protocol::content_range::ContentRange;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut numbers = lines.next().unwrap_or_default().split(' ').map(str::parse::<u64>);
    let (Some(Ok(status)), Some(Ok(length)), Some(Ok(received))) =
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
    let Some(range) = ContentRange::of_response(status, &headers, Some(length)) else { return };
    let (bytes, total) = (range.bytes().clone(), range.total());
    assert!(range.length() == length && total.is_none_or(|total| bytes.end <= total));
    let Some(wanted) = bytes.start.checked_add(received).and_then(|start| range.with_bytes(start..bytes.end))
    else {
        return;
    };
    let requested = wanted.to_range();
    let requested = requested.to_str().expect("it was written as text");
    assert!(requested.starts_with(&format!("bytes={}-", wanted.bytes().start)), "{requested}");
    // The same response again is a continuation only if no byte was received, or all are skipped.
    match range.bytes_before(&wanted) {
        Some(before) => assert!(range.is_whole() || (before == 0 && received == 0)),
        None => assert!(received > 0 && !range.is_whole()),
    }
    let other = range.with_bytes(wanted.bytes().start + 1..bytes.end);
    if let Some(other) = other.filter(|other| other.bytes().start < bytes.end) {
        assert_eq!(other.bytes_before(&wanted), None);
    }
});
