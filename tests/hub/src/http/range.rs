//! The `Range` field, as far as clients of registries use it.
//! Must never fail on an invalid field: RFC 9110 has it ignored.

/// The requested part of the content, as half-open ranges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RangeRequest {
    Full,
    Ranges(Vec<(u64, u64)>),
    /// No range lies within the content.
    Unsatisfiable,
}

impl RangeRequest {
    pub(crate) fn parse(header: Option<&str>, len: u64) -> Self {
        let Some(list) = header.and_then(|text| text.strip_prefix("bytes=")) else { return Self::Full };
        let mut ranges = Vec::new();
        for item in list.split(',') {
            match parse_item(item.trim(), len) {
                Some((start, end)) if start < end => ranges.push((start, end)),
                Some(_) => {}
                None => return Self::Full,
            }
        }
        if ranges.is_empty() { Self::Unsatisfiable } else { Self::Ranges(ranges) }
    }
}

/// `N-M`, `N-` or `-N`; empty if it starts past the end.
fn parse_item(item: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = item.split_once('-')?;
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        return Some((len.saturating_sub(suffix), len));
    }
    let start: u64 = first.parse().ok()?;
    let end = if last.is_empty() { len } else { last.parse::<u64>().ok()?.saturating_add(1) };
    (start < end || last.is_empty()).then_some((start, end.min(len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clipped_to_the_content() {
        let ranges = |header: &str| RangeRequest::parse(Some(header), 100);
        assert_eq!(ranges("bytes=0-"), RangeRequest::Ranges(vec![(0, 100)]));
        assert_eq!(ranges("bytes=10-19"), RangeRequest::Ranges(vec![(10, 20)]));
        assert_eq!(ranges("bytes=90-200"), RangeRequest::Ranges(vec![(90, 100)]));
        assert_eq!(ranges("bytes=-5"), RangeRequest::Ranges(vec![(95, 100)]));
        assert_eq!(ranges("bytes=0-1, 98-"), RangeRequest::Ranges(vec![(0, 2), (98, 100)]));
    }

    #[test]
    fn ranges_past_the_end_are_unsatisfiable_and_invalid_ones_ignored() {
        assert_eq!(RangeRequest::parse(Some("bytes=100-"), 100), RangeRequest::Unsatisfiable);
        for header in ["bytes=9-3", "bytes=x-", "lines=1-2", "bytes="] {
            assert_eq!(RangeRequest::parse(Some(header), 100), RangeRequest::Full, "{header}");
        }
        assert_eq!(RangeRequest::parse(None, 100), RangeRequest::Full);
    }
}
