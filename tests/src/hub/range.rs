//! The `Range` header, as far as registries' clients use it.
//! A header that makes no sense is ignored, as HTTP wants it, never an error.

/// What a request asks for, as half-open spans within the content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Spans(Vec<(u64, u64)>),
    /// No span lies within the content.
    Unsatisfiable,
}

impl Wanted {
    pub(super) fn parse(header: Option<&str>, len: u64) -> Self {
        let Some(list) = header.and_then(|text| text.strip_prefix("bytes=")) else { return Self::Whole };
        let mut spans = Vec::new();
        for item in list.split(',') {
            match span(item.trim(), len) {
                Some((start, end)) if start < end => spans.push((start, end)),
                Some(_) => {}
                None => return Self::Whole,
            }
        }
        if spans.is_empty() { Self::Unsatisfiable } else { Self::Spans(spans) }
    }
}

/// `N-M`, `N-` or `-N`; empty when it begins behind the end.
fn span(item: &str, len: u64) -> Option<(u64, u64)> {
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
        let spans = |header: &str| Wanted::parse(Some(header), 100);
        assert_eq!(spans("bytes=0-"), Wanted::Spans(vec![(0, 100)]));
        assert_eq!(spans("bytes=10-19"), Wanted::Spans(vec![(10, 20)]));
        assert_eq!(spans("bytes=90-200"), Wanted::Spans(vec![(90, 100)]));
        assert_eq!(spans("bytes=-5"), Wanted::Spans(vec![(95, 100)]));
        assert_eq!(spans("bytes=0-1, 98-"), Wanted::Spans(vec![(0, 2), (98, 100)]));
    }

    #[test]
    fn ranges_behind_the_end_cannot_be_satisfied_and_nonsense_is_ignored() {
        assert_eq!(Wanted::parse(Some("bytes=100-"), 100), Wanted::Unsatisfiable);
        for header in ["bytes=9-3", "bytes=x-", "lines=1-2", "bytes="] {
            assert_eq!(Wanted::parse(Some(header), 100), Wanted::Whole, "{header}");
        }
        assert_eq!(Wanted::parse(None, 100), Wanted::Whole);
    }
}
