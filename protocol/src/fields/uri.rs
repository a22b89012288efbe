//! The URIs in `Location` and `Link`: references (RFC 3986), resolved against the URI of the request.
//!
//! Must never change a byte of the path and query that a reference has: they may be signed. Must never decide
//! whether an authority may be dialed: it is here as it was written, and may be no host at all.

/// An absolute URI of the scheme `http` or `https`, without its fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUri {
    is_https: bool,
    authority: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
}

/// The parts of a reference (RFC 3986, appendix B). A fragment is not kept.
struct Parts<'a> {
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl HttpUri {
    /// Parses an absolute URI. `None` if it has another scheme, or no authority.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let Parts { scheme, authority, path, query } = split(text);
        let scheme = scheme?;
        let is_https = scheme.eq_ignore_ascii_case(b"https");
        if !is_https && !scheme.eq_ignore_ascii_case(b"http") {
            return None;
        }
        let authority = authority.filter(|authority| !authority.is_empty())?.to_owned();
        Some(Self { is_https, authority, path: absolute(path), query: query.map(<[u8]>::to_owned) })
    }

    /// What a reference leads to from here (RFC 3986, section 5.2). `None` if it is no `http` or `https` URI.
    #[must_use]
    pub fn resolve(&self, reference: &[u8]) -> Option<Self> {
        let reference = reference.trim_ascii();
        let Parts { scheme, authority, path, query } = split(reference);
        if scheme.is_some() {
            return Self::parse(reference);
        }
        let mut resolved = Self { query: query.map(<[u8]>::to_owned), ..self.clone() };
        match (authority, path) {
            (Some(b""), _) => return None,
            (Some(authority), path) => {
                authority.clone_into(&mut resolved.authority);
                resolved.path = absolute(path);
            }
            (None, b"") if query.is_none() => resolved.query.clone_from(&self.query),
            (None, b"") => {}
            (None, [b'/', ..]) => resolved.path = absolute(path),
            (None, _) => {
                let directory = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                resolved.path = absolute(&[&self.path[..directory], path].concat());
            }
        }
        Some(resolved)
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// The authority, as it was written: it may have user information, and need not be a valid host.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Whether both have the same host and port, where 80 and 443 are the ports of a URI that names none.
    /// The scheme does not count: behind a gateway, registries take `https` for `http`.
    #[must_use]
    pub fn has_host_of(&self, other: &Self) -> bool {
        let host = |uri: &Self| {
            let authority = uri.authority.to_ascii_lowercase();
            let without_port =
                [&b":443"[..], b":80"].into_iter().find_map(|port| authority.strip_suffix(port));
            without_port.map(<[u8]>::to_owned).unwrap_or(authority)
        };
        host(self) == host(other)
    }

    /// The path, which begins with a slash.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The query, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.query.as_deref()
    }

    /// Path and query, as a request line has them.
    #[must_use]
    pub fn path_and_query(&self) -> Vec<u8> {
        match &self.query {
            Some(query) => [&self.path[..], b"?", query].concat(),
            None => self.path.clone(),
        }
    }
}

fn split(text: &[u8]) -> Parts<'_> {
    let text = &text[..text.iter().position(|byte| *byte == b'#').unwrap_or(text.len())];
    let (text, query) = match text.iter().position(|byte| *byte == b'?') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let colon = text.iter().position(|byte| *byte == b':').filter(|colon| is_scheme(&text[..*colon]));
    let (scheme, text) = match colon {
        Some(colon) => (Some(&text[..colon]), &text[colon + 1..]),
        None => (None, text),
    };
    match text.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            Parts { scheme, authority: Some(&rest[..end]), path: &rest[end..], query }
        }
        None => Parts { scheme, authority: None, path: text, query },
    }
}

fn is_scheme(text: &[u8]) -> bool {
    let later = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(later)
}

/// The path without dot segments (RFC 3986, section 5.2.4), beginning with a slash.
fn absolute(path: &[u8]) -> Vec<u8> {
    let segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_with_dots = false;
    for segment in segments {
        ends_with_dots = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if ends_with_dots {
        kept.push(b"");
    }
    [b"/", &kept.join(&b'/')[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(uri: &HttpUri) -> String {
        let scheme = if uri.is_https() { "https" } else { "http" };
        let rest = [uri.authority(), &uri.path_and_query()].concat();
        format!("{scheme}://{}", String::from_utf8(rest).unwrap())
    }

    fn resolved(base: &str, reference: &str) -> Option<String> {
        HttpUri::parse(base.as_bytes()).unwrap().resolve(reference.as_bytes()).as_ref().map(text)
    }

    /// The examples of RFC 3986, section 5.4, without those of other schemes.
    #[test]
    fn references_are_resolved_as_rfc_3986_says() {
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://c.d:8443?x", "https://c.d:8443/?x"),
        ] {
            assert_eq!(resolved("http://a/b/c/d;p?q", reference).as_deref(), Some(expected), "{reference}");
        }
        for reference in ["g:h", "mailto:a@b", "https:", "https:g", "https://", "//", "ftp://a/b", "///x"] {
            assert_eq!(resolved("https://a/b", reference), None, "{reference}");
        }
    }

    #[test]
    fn path_and_query_stay_as_they_were_written() {
        let odd = "/a//b/%7e%2F%2e%2e/~+'\"|{}ü\\?sig='a'%27\"|{}+~ü&x=%2f%2F?/../";
        for reference in [odd.to_owned(), format!("//h{odd}"), format!("https://h{odd}#fragment")] {
            assert_eq!(resolved("https://h/x/y?z", &reference), Some(format!("https://h{odd}")));
        }
    }

    #[test]
    fn the_default_ports_do_not_matter_for_a_host() {
        let uri = |text: &str| HttpUri::parse(text.as_bytes()).unwrap();
        for (one, other, same) in [
            ("https://a.b/", "http://A.B:80/x", true),
            ("https://a.b:443", "https://a.b", true),
            ("https://a.b:5000", "http://a.b:5000", true),
            ("https://a.b:5000", "https://a.b", false),
            ("https://a.b", "https://user@a.b", false),
            ("https://a.b", "https://a.b.c", false),
        ] {
            assert_eq!(uri(one).has_host_of(&uri(other)), same, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_path_has_no_dot_segments(reference in "[a./:?#%@\\\\é]{0,24}") {
            let base = HttpUri::parse(b"https://host/v2/a?b").unwrap();
            if let Some(uri) = base.resolve(reference.as_bytes()) {
                prop_assert!(uri.path().starts_with(b"/") && !uri.path().contains(&b'?'));
                prop_assert!(uri.path().split(|b| *b == b'/').all(|part| part != b"." && part != b".."));
                prop_assert!(!uri.authority().is_empty());
                prop_assert_eq!(HttpUri::parse(text(&uri).as_bytes()), Some(uri.clone()));
            }
        }
    }
}
