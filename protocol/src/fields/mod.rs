//! HTTP fields (RFC 9110) that both sides of the tunnel read: one parser for each syntax.
//!
//! Must never guess: a field that is not exactly its syntax counts as absent.

pub mod accept;
pub mod byte_range;
pub mod content_range;
pub mod headers;
pub mod rate_limit;
pub mod requested_bytes;
pub mod retry_after;
pub mod uri;
pub mod user_agent;
pub mod web_link;

/// A number of digits only: `str::parse` would accept a plus sign.
fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a byte may stand in a `token` (RFC 9110, section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The value of a `quoted-string` (RFC 9110, section 5.6.4) whose opening quote precedes `text`, and what follows it.
/// `None` if it has no end.
pub(crate) fn quoted_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some((value, &text[at + 1..])),
            (_, b'\\') => value.push(*bytes.next()?.1),
            (_, byte) => value.push(*byte),
        }
    }
}
