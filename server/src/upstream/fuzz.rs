//! Entry points for the fuzz targets (`tests/fuzz`). Must never be built for anything else.

use super::blob::expected_body::ExpectedBody;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;

/// The range that a response with a body of this length announces, and the length of the whole blob, if it
/// is known.
///
/// # Panics
/// If, after `reached` bytes, the exact rest isn't accepted as the continuation, or anything else is.
#[must_use]
pub fn expected_body(
    status: StatusCode,
    headers: &HeaderMap,
    length: u64,
    reached: u64,
) -> Option<(Range<u64>, Option<u64>)> {
    let expected = ExpectedBody::announced_by(status, headers, Some(length))?;
    let (bytes, total) = expected.bytes();
    assert_eq!((bytes.end - bytes.start, expected.length()), (length, length));
    if reached < length {
        let from = bytes.start + reached;
        let requested = expected.remaining_range(reached);
        let requested = requested.to_str().expect("it was written as text");
        assert!(requested.starts_with(&format!("bytes={from}-")), "{requested}");
        let rest = |first: u64, last: u64| {
            let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{total}")).expect("it is text");
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, range)]);
            expected.bytes_to_skip(reached, StatusCode::PARTIAL_CONTENT, &headers, None)
        };
        assert_eq!(rest(from, bytes.end - 1), Some(0));
        assert_eq!(rest(from + 1, bytes.end - 1), None);
        // The same response again is a continuation only if no byte was received, or all are skipped.
        match expected.bytes_to_skip(reached, status, headers, Some(length)) {
            Some(0) => assert_eq!(from, if status == StatusCode::OK { 0 } else { bytes.start }),
            Some(skip) => assert_eq!((skip, status), (from, StatusCode::OK)),
            None => {}
        }
    }
    Some((bytes, total))
}
