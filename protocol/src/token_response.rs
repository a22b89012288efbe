//! Parses a token service's answer (distribution's "Token Authentication"; RFC 6749, section 5.1), on both
//! sides of the tunnel.
//!
//! Nothing of an answer may be printed. An answer that cannot be parsed here must not be passed on: an
//! engine could find a token in it whose origin would then be unknown.

use crate::limits::TOKEN_MAX;
use crate::secret::Secret;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// The lifetime of a token if the answer has none (distribution's "Token Authentication").
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Why an answer was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenResponseError {
    /// It is not the JSON of the specification. The text is not quoted, since it may hold a token.
    #[error("answers something that is no token")]
    Malformed,
    /// It has neither `token` nor `access_token`.
    #[error("answers without a token")]
    Missing,
    /// A token in it has more than [`TOKEN_MAX`].
    #[error("answers with a token of {0} bytes, of which {TOKEN_MAX} are allowed")]
    TooLong(usize),
}

/// An answer that grants a token.
#[derive(Debug)]
pub struct TokenResponse {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    lifetime: Duration,
}

impl TokenResponse {
    /// Parses the body of a successful answer.
    ///
    /// # Errors
    /// If it holds no token, or one of more than [`TOKEN_MAX`].
    pub fn parse(body: &[u8]) -> Result<Self, TokenResponseError> {
        let Fields { token, access_token, refresh_token, expires_in } =
            serde_json::from_slice(body).map_err(|_| TokenResponseError::Malformed)?;
        let given = |text: Option<Secret>| text.filter(|text| !text.expose().is_empty());
        let lifetime = expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
        let response = Self {
            token: given(token),
            access_token: given(access_token),
            refresh_token: given(refresh_token),
            lifetime,
        };
        if response.access_tokens().next().is_none() {
            return Err(TokenResponseError::Missing);
        }
        match response.secrets().map(|secret| secret.expose().len()).max() {
            Some(length) if length > TOKEN_MAX => Err(TokenResponseError::TooLong(length)),
            _ => Ok(response),
        }
    }

    /// The token for the registry, and its lifetime.
    ///
    /// # Panics
    /// Never: parsing fails without a token.
    #[must_use]
    pub fn into_token(self) -> (Secret, Duration) {
        let token = self.token.or(self.access_token).expect("parsing fails without a token");
        (token, self.lifetime)
    }

    /// The tokens for the registry. Services send one token under both names, or under one of them.
    pub fn access_tokens(&self) -> impl Iterator<Item = &Secret> {
        self.token.iter().chain(&self.access_token)
    }

    /// Every secret in the answer: the tokens for the registry, and the refresh token for the service.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.access_tokens().chain(&self.refresh_token)
    }
}

#[derive(Deserialize)]
struct Fields {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

/// Reads a number of seconds. Services also send text, fractions and -1, which count as no lifetime.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<(String, u64), String> {
        let (token, lifetime) =
            TokenResponse::parse(body.as_bytes()).map_err(|error| error.to_string())?.into_token();
        Ok((token.expose().to_owned(), lifetime.as_secs()))
    }

    #[test]
    fn a_token_has_one_of_two_names_or_both() {
        for (body, token, lifetime) in [
            (r#"{"token":"a"}"#, "a", 60),
            (r#"{"access_token":"b","expires_in":300}"#, "b", 300),
            (r#"{"token":"a","access_token":"b","expires_in":3600,"issued_at":"x"}"#, "a", 3600),
            (r#"{"token":"","access_token":"b","refresh_token":null}"#, "b", 60),
            (r#"{"token":"a","expires_in":"300"}"#, "a", 60),
            (r#"{"token":"a","expires_in":-1}"#, "a", 60),
            (r#"{"token":"a","expires_in":1e3}"#, "a", 60),
            (r#"{"token":"a","expires_in":null}"#, "a", 60),
        ] {
            assert_eq!(parse(body), Ok((token.to_owned(), lifetime)), "{body}");
        }
        let response =
            TokenResponse::parse(br#"{"token":"a","access_token":"b","refresh_token":"c"}"#).unwrap();
        assert_eq!(response.secrets().map(Secret::expose).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!format!("{response:?}").contains("\"a\""));
    }

    #[test]
    fn an_answer_without_a_token_is_refused_and_not_quoted() {
        for body in
            ["", "{", "[]", "\"open-sesame\"", "<html>", r#"{"token":7}"#, r#"{"token":{"a":"open-sesame"}}"#]
        {
            assert_eq!(parse(body), Err("answers something that is no token".into()), "{body}");
        }
        for body in
            ["{}", r#"{"token":""}"#, r#"{"refresh_token":"open-sesame"}"#, r#"{"Token":"open-sesame"}"#]
        {
            assert_eq!(parse(body), Err("answers without a token".into()), "{body}");
        }
    }

    #[test]
    fn a_token_has_16_kib_at_most() {
        let long = "x".repeat(TOKEN_MAX);
        for name in ["token", "access_token", "refresh_token"] {
            let body = |value: &str| {
                format!(r#"{{"token":"a","{name}":"{value}"}}"#)
                    .replace(r#""token":"a","token""#, r#""token""#)
            };
            assert!(parse(&body(&long)).is_ok(), "{name}");
            let error = parse(&body(&format!("{long}x"))).unwrap_err();
            assert_eq!(error, "answers with a token of 16385 bytes, of which 16384 are allowed", "{name}");
        }
    }
}
