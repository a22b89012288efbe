//! Media types, and whether a request accepts one (RFC 9110, sections 8.3.1 and 12.5.1).
//!
//! Must never take a type that was not named for an accepted one: the engine would fail on it.

use http::{HeaderMap, header};

/// The type and subtype of a media type, in lower case: parameters, such as a charset, do not matter here.
#[must_use]
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim_matches(WHITESPACE).to_ascii_lowercase()
}

/// Whether a request with these fields accepts this media type. A request without `Accept` accepts everything.
/// The most specific range that matches decides, and a weight of zero refuses.
#[must_use]
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter().peekable();
    if lines.peek().is_none() {
        return true;
    }
    let wanted = essence(media_type);
    let kind = wanted.split_once('/').map_or("", |(kind, _)| kind);
    let ranges = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let matching = ranges.filter_map(|range| {
        let specificity = match essence(range) {
            name if name == wanted => 2,
            name if name.strip_suffix("/*").is_some_and(|name| name == kind) => 1,
            name if name == "*/*" => 0,
            _ => return None,
        };
        Some((specificity, !has_zero_weight(range)))
    });
    matching.max().is_some_and(|(_, is_accepted)| is_accepted)
}

/// HTTP's optional whitespace (RFC 9110, section 5.6.3).
const WHITESPACE: [char; 2] = [' ', '\t'];

/// Whether a media range has the weight zero: `q=0`, `q=0.0` and so on.
fn has_zero_weight(range: &str) -> bool {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let weight = parameters.find(|(name, _)| name.trim_matches(WHITESPACE).eq_ignore_ascii_case("q"));
    let weight = weight.map(|(_, value)| value.trim_matches(WHITESPACE));
    weight
        .is_some_and(|value| value.starts_with('0') && value.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn is_accepted(lines: &[&str], media_type: &str) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, line.parse().unwrap());
        }
        accepts(&headers, media_type)
    }

    #[test]
    fn named_types_and_wildcards_are_accepted() {
        for lines in [
            &[][..],
            &[INDEX],
            &["text/html, Application/VND.oci.image.index.v1+json;q=0.9"],
            &["text/html", "*/*"],
            &["text/html,\tapplication/* ; q=0.001"],
            &["*/*;q=0, application/vnd.oci.image.index.v1+json"],
            &["é", INDEX],
        ] {
            assert!(is_accepted(lines, INDEX), "{lines:?}");
            assert!(is_accepted(lines, &format!("{INDEX}; charset=utf-8")), "{lines:?}");
        }
    }

    #[test]
    fn other_types_are_not_accepted() {
        for lines in [
            &[""][..],
            &["application/vnd.docker.distribution.manifest.v2+json"],
            &["text/*"],
            &["application"],
            &["*"],
            &["*/*, application/vnd.oci.image.index.v1+json; q=0.0"],
            &["*/*;q=0"],
            &["application/*;Q=0, */*"],
        ] {
            assert!(!is_accepted(lines, INDEX), "{lines:?}");
        }
    }

    #[test]
    fn an_essence_has_no_parameters() {
        assert_eq!(essence(" Text/HTML ; charset=utf-8"), "text/html");
        assert_eq!(essence(""), "");
    }

    proptest! {
        #[test]
        fn a_named_type_is_accepted_among_others(others in "[a-z/;=, ]{0,30}", weight in 1..=999_u32) {
            let line = format!("{others},{INDEX};q=0.{weight:03}");
            prop_assert!(is_accepted(&[&line], INDEX));
        }
    }
}
