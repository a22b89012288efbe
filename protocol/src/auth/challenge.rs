//! Parses, changes and writes `WWW-Authenticate` (RFC 9110, section 11.6.1).
//!
//! Registries send lines that do not match the grammar. Parsing therefore never fails: what cannot be read is
//! skipped, and what was read before and after it stays. A field value is bytes, not text.
//!
//! Engines follow a challenge: they send their credentials to its `realm` and request its `scope`. A
//! registry's realm and scope must therefore never reach an engine unchanged: see
//! [`Challenge::without_foreign_credentials`].

mod line;

use crate::scope;
use http::{HeaderMap, HeaderValue, header};
use line::{Item, Line};
use std::fmt;

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

    /// The challenges of one field line.
    ///
    /// A parameter whose value has no end or contains a control character is skipped. So are parameters before the
    /// first scheme, and the `token68` of schemes that registries do not use.
    #[must_use]
    pub fn parse_all(line: impl AsRef<[u8]>) -> Vec<Self> {
        let mut line = Line::new(line.as_ref());
        let mut challenges: Vec<Self> = Vec::new();
        // The challenge that parameters belong to.
        let mut current = None;
        while let Some(item) = line.next_item() {
            match item {
                Item::Scheme { name, alone } => {
                    challenges.push(Self { scheme: name, parameters: Vec::new() });
                    // A lone word can be a piece of an unquoted value: `scope=repository:a/b:pull,push,realm="r"`.
                    if current.is_none() || !alone {
                        current = Some(challenges.len() - 1);
                    }
                }
                Item::Parameter { name, value: Some(value) } => {
                    if let Some(challenge) = current.and_then(|at| challenges.get_mut(at)) {
                        challenge.parameters.push((name, value));
                    }
                }
                Item::Parameter { value: None, .. } => {}
            }
        }
        challenges
    }

    /// The challenges of a response.
    pub fn of_response(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        headers.get_all(header::WWW_AUTHENTICATE).iter().flat_map(Self::parse_all)
    }

    /// The challenge as a field value. `None` only if a caller has put a control character into it.
    #[must_use]
    pub fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.to_string().as_bytes()).ok()
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

    /// Changes every Bearer challenge of a response.
    pub fn change_bearer(headers: &mut HeaderMap, change: impl Fn(Self) -> Self) {
        let all: Vec<_> = Self::of_response(headers).collect();
        headers.remove(header::WWW_AUTHENTICATE);
        let changed = all.into_iter().map(|one| if one.is_bearer() { change(one) } else { one });
        for value in changed.filter_map(|one| one.to_header()) {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }

    /// Replaces the error and its description (RFC 6750, section 3).
    #[must_use]
    pub fn with_error(self, error: &str, description: Option<&str>) -> Self {
        let challenge =
            self.without("error").without("error_description").with("error", &without_quotes(error));
        description.into_iter().fold(challenge, Self::with_description)
    }

    /// Replaces the description of the error.
    #[must_use]
    pub fn with_description(self, description: &str) -> Self {
        self.without("error_description").with("error_description", &without_quotes(description))
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

/// A text in the characters that RFC 6750, section 3, allows in an error and its description.
fn without_quotes(text: &str) -> String {
    let allowed = |char| match char {
        '"' | '\\' => '\'',
        ' '..='~' => char,
        _ => '?',
    };
    text.chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_realm_changes_only_the_realm() {
        let line = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull",error="invalid_token""#;
        let challenge = Challenge::parse_all(line).remove(0);
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
            let challenge = Challenge::parse_all(&theirs).remove(0);
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
        let challenge = Challenge::parse_all(line).remove(0).without("error");
        let challenge = challenge.map_parameter("scope", |scope| format!("{scope}{scope}"));
        assert_eq!(challenge.to_string(), r#"Bearer realm="r",scope="aa",scope="bb""#);
    }

    #[test]
    fn with_realm_replaces_every_realm() {
        let line = r#"Bearer realm="https://a.example",service="s",Realm="https://b.example""#;
        let challenge = Challenge::parse_all(line).remove(0).with_realm("r");
        assert_eq!(challenge.to_string(), r#"Bearer realm="r",service="s""#);
    }

    #[test]
    fn a_parameter_with_a_control_character_is_skipped() {
        for line in ["Bearer realm=\"a\tb\"", "Bearer realm=\"a\\\tb\""] {
            let challenge = Challenge::parse_all(line).remove(0);
            assert_eq!(challenge.parameter("realm"), Some("a\tb"));
            assert_eq!(Challenge::parse_all(challenge.to_string()), [challenge]);
        }
        for line in
            ["Bearer a=\"\\\u{1}\",realm=\"r\"", "Bearer a=b\u{7f},realm=r", "Bearer \u{1}a=\u{85},realm=r"]
        {
            assert_eq!(written(line), [r#"Bearer realm="r""#], "{line:?}");
        }
    }

    /// The challenges of a line, written.
    fn written(line: impl AsRef<[u8]>) -> Vec<String> {
        Challenge::parse_all(line).iter().map(Challenge::to_string).collect()
    }

    #[test]
    fn one_line_can_hold_several_challenges() {
        let challenges =
            Challenge::parse_all(r#"Bearer realm="r",scope="a,b" , Basic realm="a \"b\"", Negotiate"#);
        let schemes: Vec<_> = challenges.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["Bearer", "Basic", "Negotiate"]);
        assert_eq!(challenges[0].parameter("scope"), Some("a,b"));
        assert_eq!(challenges[1].parameter("realm"), Some(r#"a "b""#));
    }

    #[test]
    fn an_oddity_costs_no_more_than_itself() {
        let expected = r#"Bearer realm="r",service="s""#;
        for line in [
            r#"Bearer realm="r",service="s""#,
            r#"Bearer realm="r" service="s""#,
            r#"Bearer realm="r";service="s";"#,
            r#", ,Bearer  realm = "r" ,, service	=	s,"#,
            r#"Bearer,realm="r",service="s""#,
            r#"Bearer; realm="r", service="s""#,
            r#"realm="before", Bearer realm="r" stray (odd) "x" service="s""#,
            r#"Bearer realm="r"stray"x",service="s""#,
            r#"Bearer realm="r",service="s",error="no end"#,
            r#"Bearer realm="r",service="s",error="\"#,
            r#"Bearer realm="r",service="s" ="#,
        ] {
            assert_eq!(written(line), [expected], "{line}");
        }
        // The value of an unquoted parameter may be empty, or contain an equals sign.
        for (line, expected) in [
            (r#"Bearer error=,realm="r""#, r#"Bearer error="",realm="r""#),
            (r#"Bearer realm="r",error="#, r#"Bearer realm="r",error="""#),
            (r#"Bearer error= ,realm="r""#, r#"Bearer error="",realm="r""#),
            (r#"Bearer error= realm="r""#, r#"Bearer error="",realm="r""#),
            (
                "Bearer realm=https://a.example/t?x=1,service=s",
                r#"Bearer realm="https://a.example/t?x=1",service="s""#,
            ),
            (r#"bEaReR REALM="r",realm="t""#, r#"bEaReR realm="r",realm="t""#),
            ("Bearer", "Bearer"),
        ] {
            assert_eq!(written(line), [expected], "{line}");
        }
        for line in ["", "   ", "realm=\"x\"", "=", "\"x\"", ",,", "\u{e9}"] {
            assert_eq!(written(line), [""; 0], "{line:?}");
        }
    }

    #[test]
    fn other_schemes_leave_the_bearer_challenge() {
        for line in [
            r#"Negotiate, Bearer realm="r""#,
            r#"Negotiate YII==, Bearer realm="r""#,
            r#"Negotiate YII Bearer realm="r""#,
            r#"Basic realm="x" Bearer realm="r""#,
            r#"Digest realm="x", qop="auth,auth-int", nonce="a\"b", Bearer realm="r""#,
            r#"Bearer realm="r", Basic realm="x", NTLM"#,
        ] {
            let bearer = Challenge::parse_all(line).into_iter().find(Challenge::is_bearer).unwrap();
            assert_eq!(bearer.to_string(), r#"Bearer realm="r""#, "{line}");
        }
        let unquoted = Challenge::parse_all(r#"Bearer scope=repository:a/b:pull,push,realm="r""#);
        assert_eq!(unquoted[0].parameter("realm"), Some("r"));
    }

    #[test]
    fn a_line_is_bytes() {
        for (line, description) in [
            (&b"Bearer realm=\"r\",error_description=\"caf\xe9\""[..], "caf\u{e9}"),
            ("Bearer error_description=\"caf\u{e9}\",realm=\"r\"".as_bytes(), "caf\u{e9}"),
            (b"Bearer \xff\xfe error_description=\xe9,\xa0 realm=\"r\"", "\u{e9}"),
        ] {
            let challenge = Challenge::parse_all(line).remove(0);
            assert_eq!(challenge.parameter("realm"), Some("r"));
            assert_eq!(challenge.parameter("error_description"), Some(description));
            assert_eq!(Challenge::parse_all(challenge.to_header().unwrap()), [challenge]);
        }
    }

    proptest! {
        #[test]
        fn a_written_challenge_parses_to_the_same_value(realm in "[ -~]{0,30}", service in "[ -~]{0,30}") {
            let challenge = Challenge::bearer(&realm, &service);
            prop_assert_eq!(Challenge::parse_all(challenge.to_string()), vec![challenge]);
        }

        #[test]
        fn a_parsed_line_is_written_as_it_was_understood(line in "[ -~\\t\u{e9}]{0,60}") {
            for challenge in Challenge::parse_all(&line) {
                prop_assert_eq!(Challenge::parse_all(challenge.to_header().unwrap()), vec![challenge]);
            }
        }

        #[test]
        fn parsing_never_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Challenge::parse_all(&line);
        }
    }
}
