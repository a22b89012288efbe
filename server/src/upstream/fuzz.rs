//! What the fuzz targets reach in here (`tests/fuzz`). Built for them alone, and must stay that way.

use super::promise::Promise;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;

/// The bytes that an answer's body of this length promises, and the length of the whole, if it is
/// told.
///
/// # Panics
/// Where the promise, once so many bytes have come, isn't kept by exactly the rest, or is by
/// anything else.
#[must_use]
pub fn promise(
    status: StatusCode,
    headers: &HeaderMap,
    length: u64,
    reached: u64,
) -> Option<(Range<u64>, Option<u64>)> {
    let promise = Promise::of(status, headers, Some(length))?;
    let (bytes, total) = promise.bytes();
    assert_eq!((bytes.end - bytes.start, promise.length()), (length, length));
    if reached < length {
        let from = bytes.start + reached;
        let asked = promise.rest(reached);
        let asked = asked.to_str().expect("it was written as text");
        assert!(asked.starts_with(&format!("bytes={from}-")), "{asked}");
        let rest = |first: u64, last: u64| {
            let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{total}")).expect("it is text");
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, range)]);
            promise.kept_by(reached, StatusCode::PARTIAL_CONTENT, &headers, None)
        };
        assert_eq!(rest(from, bytes.end - 1), Some(0));
        assert_eq!(rest(from + 1, bytes.end - 1), None);
        // What it sends again is the rest only where nothing has come yet, or all is skipped.
        match promise.kept_by(reached, status, headers, Some(length)) {
            Some(0) => assert_eq!(from, if status == StatusCode::OK { 0 } else { bytes.start }),
            Some(skip) => assert_eq!((skip, status), (from, StatusCode::OK)),
            None => {}
        }
    }
    Some((bytes, total))
}
