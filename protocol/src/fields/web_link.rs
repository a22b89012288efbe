//! The field `Link` (RFC 8288), with which registries name the next page of a list.
//!
//! Must never lose a link in silence: without its next page, a list looks complete.

use super::quoted_string;
use http::{HeaderMap, HeaderValue, header};

/// One link of a `Link` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebLink<'a> {
    /// The reference between `<` and `>`.
    target: &'a [u8],
    /// What follows, as it was written.
    parameters: &'a [u8],
    /// The value of the first `rel`.
    relation: Vec<u8>,
}

/// A part of a field that is no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedLink<'a>(&'a [u8]);

/// The links that [`rewrite`] has dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedLinks {
    /// How many.
    pub count: usize,
    /// Whether one of them leads, or may lead, to the next page.
    pub next_page: bool,
}

/// Replaces the target of each link by what `new_target` returns for it, and drops the links for which that
/// returns `None`. Links keep their order and their line.
pub fn rewrite(
    headers: &mut HeaderMap,
    mut new_target: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> DroppedLinks {
    let mut dropped = DroppedLinks::default();
    let lines = match headers.entry(header::LINK) {
        header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect::<Vec<_>>(),
        header::Entry::Vacant(_) => return dropped,
    };
    for line in lines {
        let mut kept = Vec::new();
        for link in WebLink::parse_all(line.as_bytes()) {
            let rewritten =
                link.as_ref().ok().and_then(|link| Some(link.with_target(&new_target(link.target)?)));
            match (rewritten, link) {
                (Some(link), _) => kept.push(link),
                (None, Ok(link)) => dropped.add(link.has_relation("next")),
                (None, Err(malformed)) => dropped.add(malformed.mentions("next")),
            }
        }
        if !kept.is_empty() {
            match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
                Ok(value) => drop(headers.append(header::LINK, value)),
                Err(_) => dropped.add(true),
            }
        }
    }
    dropped
}

impl DroppedLinks {
    fn add(&mut self, may_be_next_page: bool) {
        self.count += 1;
        self.next_page |= may_be_next_page;
    }
}

impl<'a> WebLink<'a> {
    /// The links of one field line.
    pub fn parse_all(line: &'a [u8]) -> impl Iterator<Item = Result<Self, MalformedLink<'a>>> {
        let mut rest = line;
        std::iter::from_fn(move || {
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            if rest.is_empty() {
                return None;
            }
            let (link, after) = Self::parse(rest);
            rest = after;
            Some(link)
        })
    }

    /// The first link of `text`, and what follows it.
    fn parse(text: &'a [u8]) -> (Result<Self, MalformedLink<'a>>, &'a [u8]) {
        let target_end = text.iter().position(|byte| *byte == b'>');
        let (Some(b'<'), Some(target_end)) = (text.first(), target_end) else {
            let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
            return (Err(MalformedLink(&text[..end])), &text[end..]);
        };
        let after = &text[target_end + 1..];
        let mut position = 0;
        let mut relation = None;
        loop {
            while let Some(b';' | b' ' | b'\t') = after.get(position) {
                position += 1;
            }
            let name = take_token(after, &mut position);
            if name.is_empty() {
                break;
            }
            skip_blanks(after, &mut position);
            if after.get(position) != Some(&b'=') {
                continue;
            }
            position += 1;
            skip_blanks(after, &mut position);
            let Some(value) = take_value(after, &mut position) else {
                return (Err(MalformedLink(text)), b"");
            };
            if name.eq_ignore_ascii_case(b"rel") {
                // Later ones do not count (RFC 8288, section 3.3).
                relation.get_or_insert(value);
            }
        }
        let end =
            after[position..].iter().position(|byte| *byte == b',').map_or(after.len(), |n| position + n);
        if end > position {
            return (Err(MalformedLink(&text[..target_end + 1 + end])), &after[end..]);
        }
        let parameters = after[..end].trim_ascii_end();
        let link = Self { target: &text[1..target_end], parameters, relation: relation.unwrap_or_default() };
        (Ok(link), &after[end..])
    }

    /// The reference that the link leads to.
    #[must_use]
    pub const fn target(&self) -> &'a [u8] {
        self.target
    }

    /// Whether the link has this relation type, which is in lower case.
    #[must_use]
    pub fn has_relation(&self, name: &str) -> bool {
        let mut types = self.relation.split(u8::is_ascii_whitespace);
        types.any(|relation| relation.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The link with another target and its own parameters, as in a field.
    #[must_use]
    pub fn with_target(&self, target: &[u8]) -> Vec<u8> {
        [b"<", target, b">", self.parameters].concat()
    }
}

impl MalformedLink<'_> {
    /// Whether this word, which is in lower case, stands anywhere in it.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        self.0.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    }
}

fn skip_blanks(text: &[u8], position: &mut usize) {
    while let Some(b' ' | b'\t') = text.get(*position) {
        *position += 1;
    }
}

/// The bytes up to the next delimiter of a parameter.
fn take_token<'a>(text: &'a [u8], position: &mut usize) -> &'a [u8] {
    let start = *position;
    while text.get(*position).is_some_and(|byte| !b" \t;,=\"".contains(byte)) {
        *position += 1;
    }
    &text[start..*position]
}

/// A parameter's value: a token or a quoted string. `None` if the string has no end.
fn take_value(text: &[u8], position: &mut usize) -> Option<Vec<u8>> {
    let Some(quoted) = text[*position..].strip_prefix(b"\"") else {
        return Some(take_token(text, position).to_owned());
    };
    let (value, rest) = quoted_string(quoted)?;
    *position = text.len() - rest.len();
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The targets of a line with their first relation; `None` for a part that is no link.
    fn parsed(line: &str) -> Vec<Option<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        let links = WebLink::parse_all(line.as_bytes());
        links.map(|link| link.ok().map(|link| (text(link.target), text(&link.relation)))).collect()
    }

    #[test]
    fn links_are_parsed_as_rfc_8288_says() {
        let link = |target: &str, relation: &str| Some((target.to_owned(), relation.to_owned()));
        for (line, expected) in [
            (r#"</v2/a>; rel="next""#, vec![link("/v2/a", "next")]),
            ("</v2/a>;rel=next", vec![link("/v2/a", "next")]),
            ("</v2/a> ; Rel = next", vec![link("/v2/a", "next")]),
            (r#"</a>; rel="first", </b,c;d>; rel="next""#, vec![link("/a", "first"), link("/b,c;d", "next")]),
            ("</a>,</b>;rel=next", vec![link("/a", ""), link("/b", "next")]),
            (r#"</a>; title="x, </z>; \"y\""; rel="prev next" ,, "#, vec![link("/a", "prev next")]),
            (r#"</a>; title*=UTF-8''b%c3; crossorigin; rel=next; rel="last""#, vec![link("/a", "next")]),
            ("<>; rel=self", vec![link("", "self")]),
            ("", vec![]),
            (" , ", vec![]),
            ("nonsense, </a>; rel=next", vec![None, link("/a", "next")]),
            ("</a", vec![None]),
            (r#"</a>; rel="next"#, vec![None]),
            ("</a> rel=next", vec![link("/a", "next")]),
            (r#"</a>; ="x", </b>"#, vec![None, link("/b", "")]),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }

    #[test]
    fn rewriting_keeps_order_lines_and_parameters_and_counts_what_it_drops() {
        let rewritten = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::LINK, line.parse().unwrap());
            }
            let dropped =
                rewrite(&mut headers, |target| target.strip_prefix(b"/").map(|rest| [b"/x/", rest].concat()));
            let text = |line: &HeaderValue| line.to_str().unwrap().to_owned();
            let lines: Vec<_> = headers.get_all(header::LINK).iter().map(text).collect();
            (lines, dropped.count, dropped.next_page)
        };
        let lines = [r#"</a>;rel="prev";title="ü, <>", <b>; rel=self, </c>; rel=NEXT"#, "</d>"];
        let lines = lines.map(|line| line.replace('ü', "u"));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let expected = [r#"</x/a>;rel="prev";title="u, <>", </x/c>; rel=NEXT"#, "</x/d>"];
        assert_eq!(rewritten(&lines), (expected.map(str::to_owned).to_vec(), 1, false));
        for (line, next_page) in [
            (r#"<b>; rel="last next""#, true),
            ("<b>; rel=prev", false),
            ("<b", false),
            (r#"<b>; rel="NEXT"#, true),
        ] {
            assert_eq!(rewritten(&[line]), (vec![], 1, next_page), "{line}");
        }
        assert_eq!(rewritten(&[]), (vec![], 0, false));
    }

    proptest! {
        #[test]
        fn a_written_link_is_parsed_as_itself(line in "[<>;,=\" \\\\a/]{0,24}") {
            for link in WebLink::parse_all(line.as_bytes()).flatten() {
                let written = link.with_target(link.target);
                let again: Vec<_> = WebLink::parse_all(&written).collect();
                prop_assert_eq!(again, vec![Ok(link.clone())]);
            }
        }

        #[test]
        fn every_link_is_kept_or_counted(line in "[<>;,=\" \\\\a/]{0,24}") {
            let found = WebLink::parse_all(line.as_bytes()).count();
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, HeaderValue::from_str(&line).unwrap());
            let dropped = rewrite(&mut headers, |target| Some(target.to_owned())).count;
            let kept = headers.get(header::LINK).map_or(0, |line| WebLink::parse_all(line.as_bytes()).count());
            prop_assert_eq!(found, kept + dropped);
        }
    }
}
