//! HTTP fields (RFC 9110) that both sides of the tunnel read: one parser for each syntax.
//!
//! Must never guess: a field that is not exactly its syntax counts as absent.

pub mod accept;
pub mod content_range;
pub mod headers;
pub mod rate_limit;
pub mod retry_after;
pub mod uri;
pub mod user_agent;
pub mod web_link;

/// A number of digits only: `str::parse` would accept a plus sign.
fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
