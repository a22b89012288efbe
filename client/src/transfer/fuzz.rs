//! What the fuzz targets use (`tests/fuzz`). Compiled for them only, and must stay so.

use super::content_range::{ContentRange, range_header};
use docxy_protocol::headers::Headers;
use http::{HeaderMap, StatusCode};
use std::ops::Range;

/// The range in the body of a response with this length, and the length of the whole blob.
///
/// # Panics
/// If the range cannot be requested.
#[must_use]
pub fn span(status: StatusCode, headers: &HeaderMap, length: u64) -> Option<(Range<u64>, u64)> {
    let ContentRange { bytes, total } = ContentRange::of(status, &Headers::filter_response(headers), length)?;
    let _ = range_header(&bytes);
    Some((bytes, total))
}
