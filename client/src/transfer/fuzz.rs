//! What the fuzz targets reach in here (`tests/fuzz`). Built for them alone, and must stay that way.

use super::span::{Span, header_of};
use docxy_protocol::headers::Headers;
use http::{HeaderMap, StatusCode};
use std::ops::Range;

/// The bytes that an answer's body of this length is taken for, and the length of the whole blob.
///
/// # Panics
/// Where such bytes couldn't be asked for.
#[must_use]
pub fn span(status: StatusCode, headers: &HeaderMap, length: u64) -> Option<(Range<u64>, u64)> {
    let Span { bytes, total } = Span::of(status, &Headers::filter_response(headers), length)?;
    let _ = header_of(&bytes);
    Some((bytes, total))
}
