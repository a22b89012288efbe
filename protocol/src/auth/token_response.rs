//! Parses a token service's response (distribution's "Token Authentication"; RFC 6749, section 5.1), on both
//! sides of the tunnel.
//!
//! No part of a response may be printed. A response that cannot be parsed here must not be forwarded: an
//! engine could find a token in it, and the origin of that token would be unknown.

use crate::limits::TOKEN_BYTES_MAX;
use crate::secret::Secret;
use serde::Deserialize;
use std::time::Duration;

/// The lifetime of a token if the response has none (distribution's "Token Authentication").
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Why a response was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenResponseError {
    /// It is not the JSON of the specification. The text is not quoted, because it may contain a token.
    #[error("responds with something that is not a token")]
    Malformed,
    /// It has neither `token` nor `access_token`.
    #[error("responds without a token")]
    Missing,
    /// It contains a token that no header field can carry (RFC 6750, section 2.1): with a line break, say.
    #[error("responds with a token that contains a space, a line break or another invalid character")]
    Unprintable,
    /// It contains a token of more than [`TOKEN_BYTES_MAX`] bytes.
    #[error("responds with a token of {0} bytes; the limit is {TOKEN_BYTES_MAX}")]
    TooLong(usize),
}

/// A response that grants a token.
#[derive(Debug)]
pub struct TokenResponse {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    lifetime: Duration,
}

impl TokenResponse {
    /// Parses the body of a successful response.
    ///
    /// # Errors
    /// If it contains no token, or one that is not printable or has more than [`TOKEN_BYTES_MAX`] bytes.
    pub fn parse(body: &[u8]) -> Result<Self, TokenResponseError> {
        let SecretFields { token, access_token, refresh_token } =
            serde_json::from_slice(body).map_err(|_| TokenResponseError::Malformed)?;
        let non_empty = |text: Option<Secret>| text.filter(|text| !text.expose().is_empty());
        // Some services send text, fractions, -1, or a number that no type can hold: these count as no lifetime.
        let lifetime = serde_json::from_slice(body).ok();
        let lifetime =
            lifetime.map_or(DEFAULT_LIFETIME, |Lifetime { expires_in }| Duration::from_secs(expires_in));
        let response = Self {
            token: non_empty(token),
            access_token: non_empty(access_token),
            refresh_token: non_empty(refresh_token),
            lifetime,
        };
        if response.access_tokens().next().is_none() {
            return Err(TokenResponseError::Missing);
        }
        let is_printable = |token: &Secret| token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !response.access_tokens().all(is_printable) {
            return Err(TokenResponseError::Unprintable);
        }
        match response.secrets().map(|secret| secret.expose().len()).max() {
            Some(length) if length > TOKEN_BYTES_MAX => Err(TokenResponseError::TooLong(length)),
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

    /// The tokens for the registry. Services send a token as `token`, as `access_token` or as both.
    pub fn access_tokens(&self) -> impl Iterator<Item = &Secret> {
        self.token.iter().chain(&self.access_token)
    }

    /// Every secret in the response: the tokens for the registry, and the refresh token for the service.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.access_tokens().chain(&self.refresh_token)
    }
}

#[derive(Deserialize)]
struct SecretFields {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
}

/// Parsed separately, because a strange lifetime must not make a token unreadable.
#[derive(Deserialize)]
struct Lifetime {
    expires_in: u64,
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
    fn a_token_is_sent_as_token_or_access_token_or_both() {
        for (body, token, lifetime) in [
            (r#"{"token":"a"}"#, "a", 60),
            (r#"{"access_token":"b","expires_in":300}"#, "b", 300),
            (r#"{"token":"a","access_token":"b","expires_in":3600,"issued_at":"x"}"#, "a", 3600),
            (r#"{"token":"","access_token":"b","refresh_token":null}"#, "b", 60),
            (r#"{"token":"a","expires_in":"300"}"#, "a", 60),
            (r#"{"token":"a","expires_in":-1}"#, "a", 60),
            (r#"{"token":"a","expires_in":1e3}"#, "a", 60),
            (r#"{"token":"a","expires_in":null}"#, "a", 60),
            (r#"{"token":"a","expires_in":299.5}"#, "a", 60),
            (r#"{"token":"a","expires_in":1e999}"#, "a", 60),
            (r#"{"token":"a","expires_in":18446744073709551616}"#, "a", 60),
            (r#"{"token":"a","expires_in":18446744073709551615}"#, "a", u64::MAX),
            (r#"{"token":"a","expires_in":{"x":[]}}"#, "a", 60),
        ] {
            assert_eq!(parse(body), Ok((token.to_owned(), lifetime)), "{body}");
        }
        let response =
            TokenResponse::parse(br#"{"token":"a","access_token":"b","refresh_token":"c"}"#).unwrap();
        assert_eq!(response.secrets().map(Secret::expose).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!format!("{response:?}").contains("\"a\""));
    }

    #[test]
    fn a_response_without_a_token_is_refused_and_not_quoted() {
        for body in
            ["", "{", "[]", "\"open-sesame\"", "<html>", r#"{"token":7}"#, r#"{"token":{"a":"open-sesame"}}"#]
        {
            assert_eq!(parse(body), Err("responds with something that is not a token".into()), "{body}");
        }
        for body in
            ["{}", r#"{"token":""}"#, r#"{"refresh_token":"open-sesame"}"#, r#"{"Token":"open-sesame"}"#]
        {
            assert_eq!(parse(body), Err("responds without a token".into()), "{body}");
        }
    }

    #[test]
    fn a_token_that_no_header_field_can_carry_is_refused() {
        for token in ["a\\nb", "a\\n", "a\\r\\nx: y", "\\u0000", "a b", "\\u007f", "\u{e9}"] {
            for name in ["token", "access_token"] {
                let body = format!(r#"{{"refresh_token":"r","{name}":"{token}"}}"#);
                let error = parse(&body).unwrap_err();
                assert!(error.starts_with("responds with a token that contains"), "{body}: {error}");
            }
        }
    }

    #[test]
    fn a_token_of_more_than_16_kib_is_refused() {
        let long = "x".repeat(TOKEN_BYTES_MAX);
        for name in ["token", "access_token", "refresh_token"] {
            let body = |value: &str| {
                format!(r#"{{"token":"a","{name}":"{value}"}}"#)
                    .replace(r#""token":"a","token""#, r#""token""#)
            };
            assert!(parse(&body(&long)).is_ok(), "{name}");
            let error = parse(&body(&format!("{long}x"))).unwrap_err();
            assert_eq!(error, "responds with a token of 16385 bytes; the limit is 16384", "{name}");
        }
    }
}
