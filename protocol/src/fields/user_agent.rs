//! The products that a `User-Agent` names (RFC 9110, section 10.1.5):
//! `docker/29.2.1 go/go1.25.6 os/linux containerd-client/2.2.1+unknown UpstreamClient(Docker-Client/29.2.1 \(linux\))`.
//!
//! Only reads: must never decide what an engine does.

use super::is_token_byte;
use http::HeaderMap;
use http::header::USER_AGENT;

/// Products that are read, at most. dockerd names nine.
const PRODUCTS_MAX: usize = 16;

/// The products, in the order in which they are named: the most important first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAgent(Vec<Product>);

/// A product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    name: String,
    version: Option<String>,
}

impl UserAgent {
    /// The products in these header fields; none without the field.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Self {
        headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map_or_else(Self::default, Self::parse)
    }

    /// Parses the field's value. Comments are skipped, and so is every byte that is no part of a product.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut products = Vec::new();
        let mut rest = value;
        while products.len() < PRODUCTS_MAX && !rest.is_empty() {
            let name = take_token(&mut rest);
            if name.is_empty() {
                rest = if rest.starts_with('(') { after_comment(rest) } else { after_char(rest) };
                continue;
            }
            let version = rest.strip_prefix('/').map(|after| {
                rest = after;
                take_token(&mut rest)
            });
            let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
            products.push(Product { name: name.to_owned(), version });
        }
        Self(products)
    }

    /// The product with this name, in upper or lower case.
    #[must_use]
    pub fn product(&self, name: &str) -> Option<&Product> {
        self.0.iter().find(|product| product.is(name))
    }

    /// The product that the agent names first: its own name.
    #[must_use]
    pub fn first(&self) -> Option<&Product> {
        self.0.first()
    }
}

impl Product {
    /// Whether it has this name, in upper or lower case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The first two numbers of its version, as in `v2.3.1-k3s1`. `None` for a version of another form.
    #[must_use]
    pub fn major_minor(&self) -> Option<(u64, u64)> {
        let version = self.version.as_deref()?;
        let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        Some((number()?, number()?))
    }
}

/// Takes a `token` (RFC 9110, section 5.6.2) from the front. It may be empty. Go's module versions contain `+`,
/// Debian's `~`: both are allowed in tokens.
fn take_token<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

/// What follows a comment (RFC 9110, section 5.6.5), which may contain comments. Empty if it has no end.
fn after_comment(text: &str) -> &str {
    let mut depth = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' if depth == 1 => return &text[at + 1..],
            ')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn after_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(value: &str) -> Vec<String> {
        UserAgent::parse(value).0.into_iter().map(|product| product.name).collect()
    }

    #[test]
    fn the_agents_of_docker_are_read() {
        let docker = "docker/29.2.1 go/go1.25.6 git-commit/6bc6209 kernel/6.8.0-101-generic os/linux arch/amd64 \
                      containerd-client/2.2.1+unknown storage-driver/overlayfs \
                      UpstreamClient(Docker-Client/29.2.1 \\(linux\\))";
        let expected = [
            "docker",
            "go",
            "git-commit",
            "kernel",
            "os",
            "arch",
            "containerd-client",
            "storage-driver",
            "UpstreamClient",
        ];
        assert_eq!(names(docker), expected);
        let agent = UserAgent::parse(docker);
        assert_eq!(agent.product("containerd-client").unwrap().major_minor(), Some((2, 2)));
        assert!(agent.product("Docker-Client").is_none(), "it is in a comment");
        assert!(agent.first().unwrap().is("Docker"));
        assert_eq!(names("Docker-Client/29.2.1 (linux)"), ["Docker-Client"]);
    }

    #[test]
    fn versions_of_several_forms_are_read() {
        for (value, expected) in [
            ("containerd/1.6.20~ds1", Some((1, 6))),
            ("containerd/v2.1.4-k3s1", Some((2, 1))),
            ("containerd/2.10", Some((2, 10))),
            ("containerd/2", None),
            ("containerd/unknown", None),
            ("containerd/", None),
            ("containerd", None),
            ("containerd/99999999999999999999.1", None),
        ] {
            assert_eq!(UserAgent::parse(value).first().unwrap().major_minor(), expected, "{value}");
        }
    }

    #[test]
    fn odd_agents_are_read_as_far_as_possible() {
        for (value, expected) in [
            ("", &[][..]),
            ("(only a comment)", &[]),
            ("a/1 (b (c/1) \\) d/2) e", &["a", "e"]),
            ("a/1 (never closed b/2", &["a"]),
            ("a/1,b/2;c", &["a", "b", "c"]),
            ("  /1 é a", &["1", "a"]),
        ] {
            assert_eq!(names(value), expected, "{value:?}");
        }
        assert_eq!(names(&"a ".repeat(1000)).len(), PRODUCTS_MAX);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in "\\PC{0,80}") {
            let _ = UserAgent::parse(&value);
        }
    }
}
