//! Responses that the client makes: faults, the public token, the health.

use crate::status::EventStream;
use crate::transfer::Transfer;
use bytes::Bytes;
use docxy_protocol::authorization::{PUBLIC_TOKEN, WITHHELD_TOKEN};
use docxy_protocol::error_body;
use docxy_protocol::fault::{Fault, FaultKind};
use docxy_protocol::name::Registry;
use docxy_protocol::route::allowed_methods;
use docxy_protocol::text::{CleanText, clean};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::ext::ReasonPhrase;
use serde_json::json;
use std::fmt::Display;

/// A body of this client, one that comes through the tunnel, or the events of the page.
pub(super) type ResponseBody = Either<Full<Bytes>, Either<Transfer, EventStream>>;

/// How long engines may use the public token, in seconds. It never expires, but engines should notice a
/// change.
const PUBLIC_TOKEN_LIFETIME: u32 = 3600;

/// Characters of a fault in the status line: engines repeat it, some several times.
const REASON_CHARS_MAX: usize = 250;

/// The error response for a fault of the request for `path`, in the format of a registry.
pub(super) fn fault(fault: &Fault, path: &str) -> Response<ResponseBody> {
    let mut response = json_bytes(fault.status(), error_body::from_fault(fault));
    describe_in_status_line(&mut response, format_args!("docxy: {fault}"));
    let headers = response.headers_mut();
    // Engines treat a response with this header as one of a registry.
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    match fault.kind {
        FaultKind::MethodNotServed => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed_methods(path)));
        }
        FaultKind::Down | FaultKind::Overloaded => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

/// Adds words to the status line. The response to a `HEAD` has no body, and engines print this line instead:
/// `503 Service Unavailable (docxy: tunnel: …)`.
pub(super) fn describe_in_status_line(response: &mut Response<ResponseBody>, words: impl Display) {
    let standard = response.status().canonical_reason().unwrap_or_default();
    let words = reason_words(&clean(words));
    if let Ok(reason) = ReasonPhrase::try_from(format!("{standard} ({words})").into_bytes()) {
        response.extensions_mut().insert(reason);
    }
}

/// The text in ASCII, with an end after a word if it is too long.
fn reason_words(text: &CleanText) -> String {
    let text = text.as_str().replace('…', "...");
    let ascii: String = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    if ascii.len() <= REASON_CHARS_MAX {
        return ascii;
    }
    let start = &ascii[..REASON_CHARS_MAX - 3];
    format!("{}...", start.rsplit_once(' ').map_or(start, |(words, _)| words))
}

/// The same response, after which the connection closes.
pub(super) fn last(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to a token request without a credential that the registry may receive (distribution's "Token
/// Authentication").
pub(super) fn public_token(is_credential_withheld: bool) -> Response<ResponseBody> {
    let token = if is_credential_withheld { WITHHELD_TOKEN } else { PUBLIC_TOKEN };
    json_value(
        StatusCode::OK,
        &json!({
            "token": token,
            "access_token": token,
            "expires_in": PUBLIC_TOKEN_LIFETIME,
            "issued_at": jiff::Timestamp::now().to_string(),
        }),
    )
}

/// The response to a login to a registry that no account can be sent to.
pub(super) fn login_refused(registry: &Registry) -> Response<ResponseBody> {
    let words = format_args!(
        "docxy: this account was not sent to {registry}, because docxy sends accounts of engines to Docker Hub only. \
         Public images of {registry} need no login, and for others there is: docxy-client login {registry}"
    );
    json_bytes(StatusCode::FORBIDDEN, error_body::denied(words))
}

/// A JSON response.
pub(super) fn json_value(status: StatusCode, value: &serde_json::Value) -> Response<ResponseBody> {
    json_bytes(status, value.to_string().into_bytes())
}

fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response<ResponseBody> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(error_body::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_ends_after_a_word() {
        assert_eq!(reason_words(&clean("naïve… yes")), "na?ve... yes");
        let words = reason_words(&clean("advice ".repeat(100)));
        assert!(words.len() <= REASON_CHARS_MAX && words.ends_with(" advice..."), "{words}");
        assert_eq!(reason_words(&clean("x".repeat(300))).len(), REASON_CHARS_MAX);
    }
}
