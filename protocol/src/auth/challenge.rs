//! Parses, changes and writes `WWW-Authenticate` (RFC 9110, section 11.6.1).
//!
//! Engines follow a challenge: they send their credentials to its `realm` and request its `scope`. A
//! registry's realm and scope must therefore never reach an engine unchanged: see
//! [`Challenge::without_foreign_credentials`].

use crate::scope;
use http::{HeaderMap, header};
use std::fmt;

/// Why a header's value cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a WWW-Authenticate value: {0}")]
pub struct ChallengeError(&'static str);

/// HTTP's optional whitespace (RFC 9110, section 5.6.3). Other Unicode whitespace is text.
const WHITESPACE: [char; 2] = [' ', '\t'];

/// One challenge: a scheme and its ordered parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A Bearer challenge that points to a token service.
    #[must_use]
    pub fn bearer(realm: &str, service: &str) -> Self {
        let parameters = vec![("realm".into(), realm.into()), ("service".into(), service.into())];
        Self { scheme: "Bearer".into(), parameters }
    }

    /// Parses all challenges of one header line.
    ///
    /// # Errors
    /// If the line does not match the grammar.
    pub fn parse_all(line: &str) -> Result<Vec<Self>, ChallengeError> {
        let mut rest = line.trim_matches(WHITESPACE);
        let mut challenges: Vec<Self> = Vec::new();
        while !rest.is_empty() {
            let word = parse_token(&mut rest)?;
            // A word followed by '=' is a parameter of the current challenge. Any other word is the scheme
            // of a new one.
            if let Some(after) = rest.trim_start_matches(WHITESPACE).strip_prefix('=') {
                let challenge =
                    challenges.last_mut().ok_or(ChallengeError("a parameter without a scheme"))?;
                rest = after.trim_start_matches(WHITESPACE);
                let value = if rest.starts_with('"') {
                    parse_quoted(&mut rest)?
                } else {
                    parse_token(&mut rest)?.to_owned()
                };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            } else {
                challenges.push(Self { scheme: word.to_owned(), parameters: Vec::new() });
            }
            rest = rest.trim_start_matches([' ', '\t', ',']);
        }
        if challenges.is_empty() { Err(ChallengeError("empty")) } else { Ok(challenges) }
    }

    /// The challenges of a response. A line that cannot be parsed has none.
    pub fn of_response(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
        lines.filter_map(|line| Self::parse_all(line.to_str().ok()?).ok()).flatten()
    }

    /// Whether the challenge requires a token from a token service.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("bearer")
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Applies `change` to each value of a parameter.
    #[must_use]
    pub fn map_parameter(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        for (_, value) in self.parameters.iter_mut().filter(|(n, _)| n == name) {
            *value = change(value);
        }
        self
    }

    /// The challenge for an engine that requested `repository` (spelled as the engine spells it; `None` if
    /// the request named no repository). It points to `realm`, and its scopes allow at most pulling from
    /// that repository (see [`scope::confine`]).
    ///
    /// This applies to every scheme. One kind of realm is not replaced: a title for people (RFC 9110,
    /// section 11.5), which consists of plain words and belongs to a scheme other than Bearer, such as
    /// `Basic realm="Registry Realm"`.
    #[must_use]
    pub fn without_foreign_credentials(mut self, realm: &str, repository: Option<&str>) -> Self {
        let mut has_scope = false;
        self.parameters.retain_mut(|(name, value)| {
            if name != "scope" {
                return true;
            }
            // Only the first scope stays, because engines differ in which one they use if there are two.
            let scopes = scope::confine(value, repository).filter(|_| !has_scope);
            has_scope |= scopes.is_some();
            scopes.map(|scopes| *value = scopes).is_some()
        });
        let mut realms = self.parameters.iter().filter(|(name, _)| name == "realm").map(|(_, value)| value);
        let is_plain_words =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-".contains(&b));
        let is_title = match (realms.next(), realms.next()) {
            (None, _) => true,
            (Some(one), None) => is_plain_words(one),
            _ => false,
        };
        if is_title && !self.is_bearer() { self } else { self.with_realm(realm) }
    }

    /// Removes a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(n, _)| n != name);
        self
    }

    /// Replaces the realm.
    #[must_use]
    pub fn with_realm(mut self, realm: &str) -> Self {
        // Every realm is replaced, because engines differ in which one they use if there are two.
        let index = self.parameters.iter().position(|(name, _)| name == "realm").unwrap_or_default();
        self.parameters.retain(|(name, _)| name != "realm");
        self.parameters.insert(index, ("realm".into(), realm.into()));
        self
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        for (i, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if i == 0 { " " } else { "," };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "{separator}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

/// Parses a `token` (RFC 9110, section 5.6.2). Further characters are accepted, because some registries send
/// them unquoted.
fn parse_token<'a>(rest: &mut &'a str) -> Result<&'a str, ChallengeError> {
    let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
    if end == 0 {
        return Err(ChallengeError("a word is missing"));
    }
    let (word, after) = rest.split_at(end);
    if word.contains(char::is_control) {
        return Err(ChallengeError("it contains a control character"));
    }
    *rest = after;
    Ok(word)
}

/// Parses a `quoted-string` (RFC 9110, section 5.6.4).
fn parse_quoted(rest: &mut &str) -> Result<String, ChallengeError> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                *rest = &rest[i + 1..];
                return Ok(value);
            }
            '\\' => value
                .push(allowed_char(chars.next().ok_or(ChallengeError("the value ends in a backslash"))?.1)?),
            c => value.push(allowed_char(c)?),
        }
    }
    Err(ChallengeError("a quoted value has no end"))
}

/// Checks a character of a quoted string, escaped or not. A tab is the only control character allowed.
fn allowed_char(c: char) -> Result<char, ChallengeError> {
    if c.is_control() && c != '\t' { Err(ChallengeError("it contains a control character")) } else { Ok(c) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_realm_changes_only_the_realm() {
        let line = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull",error="invalid_token""#;
        let challenge = Challenge::parse_all(line).unwrap().remove(0);
        assert_eq!(challenge.parameter("service"), Some("registry.docker.io"));
        assert_eq!(
            challenge.with_realm("http://127.0.0.1:5080/auth/token").to_string(),
            line.replace("https://auth.docker.io/token", "http://127.0.0.1:5080/auth/token")
        );
    }

    #[test]
    fn a_hostile_challenge_is_confined_to_our_realm_and_to_the_requested_repository() {
        const OURS: &str = "http://127.0.0.1:5080/auth/token/evil.example";
        let hub = r#"service="registry.docker.io",scope="repository:alice/private:pull,push""#;
        let confined = r#"service="registry.docker.io",scope="repository:x/y:pull""#;
        for (theirs, ours) in [
            (
                format!(r#"Bearer realm="https://auth.docker.io/token",{hub}"#),
                format!(r#"Bearer realm="{OURS}",{confined}"#),
            ),
            (
                format!("bearer REALM=http://127.0.0.1:5080/auth/token,{hub}"),
                format!(r#"bearer realm="{OURS}",{confined}"#),
            ),
            (
                format!(r#"Bearer {hub},realm="a b",Scope="repository:bob/private:*",realm="c""#),
                format!(r#"Bearer {confined},realm="{OURS}""#),
            ),
            (r#"Bearer scope="repository:x/y:push""#.into(), format!(r#"Bearer realm="{OURS}""#)),
            (r#"Bearers realm="https://evil.example/token""#.into(), format!(r#"Bearers realm="{OURS}""#)),
            (r#"Basic realm="x\", Bearer realm=\"y""#.into(), format!(r#"Basic realm="{OURS}""#)),
            (r#"Basic realm="a",realm="b""#.into(), format!(r#"Basic realm="{OURS}""#)),
            (r#"Basic realm="Registry Realm""#.into(), r#"Basic realm="Registry Realm""#.into()),
            ("Negotiate".into(), "Negotiate".into()),
        ] {
            let challenge = Challenge::parse_all(&theirs).unwrap().remove(0);
            assert_eq!(
                challenge.without_foreign_credentials(OURS, Some("x/y")).to_string(),
                ours,
                "{theirs}"
            );
        }
    }

    #[test]
    fn a_parameter_is_changed_or_removed_at_any_position() {
        let line = r#"Bearer realm="r",scope="a",error="e",Scope="b""#;
        let challenge = Challenge::parse_all(line).unwrap().remove(0).without("error");
        let challenge = challenge.map_parameter("scope", |scope| format!("{scope}{scope}"));
        assert_eq!(challenge.to_string(), r#"Bearer realm="r",scope="aa",scope="bb""#);
    }

    #[test]
    fn with_realm_replaces_every_realm() {
        let line = r#"Bearer realm="https://a.example",service="s",Realm="https://b.example""#;
        let challenge = Challenge::parse_all(line).unwrap().remove(0).with_realm("r");
        assert_eq!(challenge.to_string(), r#"Bearer realm="r",service="s""#);
    }

    /// Fuzzing found the last two lines.
    #[test]
    fn a_tab_is_the_only_control_character_allowed() {
        for line in ["Bearer realm=\"a\tb\"", "Bearer realm=\"a\\\tb\""] {
            let challenge = Challenge::parse_all(line).unwrap().remove(0);
            assert_eq!(challenge.parameter("realm"), Some("a\tb"));
            assert_eq!(Challenge::parse_all(&challenge.to_string()).unwrap(), [challenge]);
        }
        for line in
            ["Bearer realm=\"\\\u{1}\"", "Bearer #ealm=ry.docker.io\u{1}\0\0 ope=\"r\"", "Bea\u{7f}rer"]
        {
            assert!(Challenge::parse_all(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn unicode_whitespace_is_text() {
        let odd = Challenge::parse_all("Basic a,\u{a0}Berm").unwrap();
        let last = odd.last().unwrap().clone();
        assert_eq!(Challenge::parse_all(&last.to_string()).unwrap(), [last]);
    }

    #[test]
    fn one_line_can_hold_several_challenges() {
        let challenges =
            Challenge::parse_all(r#"Bearer realm="r",scope="a,b" , Basic realm="a \"b\"", Negotiate"#)
                .unwrap();
        let schemes: Vec<_> = challenges.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["Bearer", "Basic", "Negotiate"]);
        assert_eq!(challenges[0].parameter("scope"), Some("a,b"));
        assert_eq!(challenges[1].parameter("realm"), Some(r#"a "b""#));
    }

    #[test]
    fn a_malformed_challenge_is_an_error() {
        for line in
            ["", "   ", "realm=\"x\"", "Bearer realm=\"x", "Bearer realm=", "Bearer realm=\"\\", "=", "\"x\""]
        {
            assert!(Challenge::parse_all(line).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_challenge_parses_to_the_same_value(realm in "[ -~]{0,30}", service in "[ -~]{0,30}") {
            let challenge = Challenge::bearer(&realm, &service);
            prop_assert_eq!(Challenge::parse_all(&challenge.to_string()).unwrap(), vec![challenge]);
        }

        #[test]
        fn parsing_never_panics(line in "\\PC{0,60}") {
            let _ = Challenge::parse_all(&line);
        }
    }
}
