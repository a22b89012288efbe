//! Error bodies in the format of the distribution spec ("Error Codes").
//!
//! An engine must never get HTML: a body that is not JSON is converted; its status stays.

use crate::fault::Fault;
use crate::text::{CleanText, TEXT_CHARS_MAX};
use http::StatusCode;
use serde_json::{Value, json};
use std::fmt;

/// The media type of these bodies.
pub const MEDIA_TYPE: &str = "application/json";

/// The body for one of our own faults.
#[must_use]
pub fn from_fault(fault: &Fault) -> Vec<u8> {
    render(fault.oci_code(), &format!("docxy: {fault}"), json!({ "hop": fault.hop.to_string() }))
}

/// The body for content that this registry refuses, with its reason.
#[must_use]
pub fn denied(reason: impl fmt::Display) -> Vec<u8> {
    render("DENIED", &reason.to_string(), Value::Null)
}

/// The message in the error body of a registry, or of a token service: one of the distribution spec ("Error Codes"),
/// of Docker Hub's token service, of OAuth 2.0 (RFC 6749, section 5.2), or plain text. `None` if it has none.
#[must_use]
pub fn message(body: &[u8]) -> Option<CleanText<500>> {
    let texts: Vec<String> = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => {
            let errors =
                fields.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let others = ["details", "message", "error_description", "error"];
            let other = others.iter().find_map(|name| fields.get(*name)?.as_str());
            let messages = errors.iter().filter_map(|error| error["message"].as_str());
            messages.chain(other.filter(|_| errors.is_empty())).map(str::to_owned).collect()
        }
        Ok(_) => Vec::new(),
        Err(_) => vec![String::from_utf8_lossy(body).trim().to_owned()],
    };
    let text = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    let message = CleanText::new(&text);
    // A page for browsers says nothing to a person at a terminal.
    (!message.as_str().is_empty() && !text.starts_with('<')).then_some(message)
}

/// The body for an upstream error with this status and the body `original`: that body if it is JSON
/// (`docker` prints its details), with its texts cleaned, else its text in the format of the spec.
///
/// `unknown_code` is the code for a 404: only the operation says what was not found.
#[must_use]
pub fn from_upstream(status: StatusCode, original: &[u8], unknown_code: &str) -> Vec<u8> {
    if let Ok(mut value @ Value::Object(_)) = serde_json::from_slice(original) {
        // Bytes that need no cleaning stay as they are.
        return if clean(&mut value) { value.to_string().into_bytes() } else { original.to_vec() };
    }
    let text = String::from_utf8_lossy(original);
    let text = text.trim();
    let message: CleanText<500> = if text.is_empty() || text.starts_with('<') {
        status.canonical_reason().unwrap_or("error").into()
    } else {
        text.into()
    };
    render(code_for(status, unknown_code), message.as_str(), Value::Null)
}

/// Cleans the texts of a JSON value, and cuts them to a length that people read. Returns whether one of them
/// has changed.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let cleaned = CleanText::<{ TEXT_CHARS_MAX }>::new(&*text);
            let changed = cleaned.as_str() != text;
            if changed {
                *text = cleaned.as_str().to_owned();
            }
            changed
        }
        Value::Array(values) => values.iter_mut().fold(false, |changed, value| clean(value) | changed),
        Value::Object(fields) => fields.values_mut().fold(false, |changed, value| clean(value) | changed),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn code_for(status: StatusCode, unknown_code: &str) -> &str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::NOT_FOUND => unknown_code,
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::METHOD_NOT_ALLOWED => "UNSUPPORTED",
        status if status.is_server_error() => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

fn render(code: &str, message: &str, detail: Value) -> Vec<u8> {
    json!({ "errors": [{ "code": code, "message": message, "detail": detail }] }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{FaultKind, Hop};

    fn first(body: &[u8]) -> (String, String) {
        let value: Value = serde_json::from_slice(body).unwrap();
        let error = &value["errors"][0];
        (error["code"].as_str().unwrap().into(), error["message"].as_str().unwrap().into())
    }

    #[test]
    fn the_body_for_a_fault_names_its_hop() {
        let (code, message) =
            first(&from_fault(&Fault::new(Hop::Tunnel, FaultKind::Down, "no answer since 10 s")));
        assert_eq!((code.as_str(), message.as_str()), ("UNAVAILABLE", "docxy: tunnel: no answer since 10 s"));
    }

    #[test]
    fn the_texts_of_a_json_error_are_cleaned_and_cut() {
        let hostile = br#"{"errors":[{"code":"DENIED","message":"\u001b[31mforged\r\nINFO \u202e","detail":{"a":["b\u0007"]}}]}"#;
        let cleaned = from_upstream(StatusCode::FORBIDDEN, hostile, "");
        assert_eq!(first(&cleaned), ("DENIED".into(), "[31mforged INFO ".into()));
        assert!(!String::from_utf8(cleaned).unwrap().contains("\\u00"));
        let long = json!({ "errors": [{ "code": "DENIED", "message": "A".repeat(5000) }] }).to_string();
        let (_, message) = first(&from_upstream(StatusCode::FORBIDDEN, long.as_bytes(), ""));
        assert!(message.chars().count() <= TEXT_CHARS_MAX, "{}", message.len());
    }

    #[test]
    fn the_message_of_an_error_is_found_in_each_format() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no \u001bentry"},{"message":"pay"}]}"#,
                Some("no entry; pay"),
            ),
            (r#"{"errors":[{"code":"DENIED"}],"message":"x"}"#, None),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"error":"access_denied","error_description":"no seat left"}"#, Some("no seat left")),
            (r#"{"error":"access_denied"}"#, Some("access_denied")),
            ("go\r\naway\n", Some("go away")),
            ("<html>403</html>", None),
            ("[]", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(message(body.as_bytes()).as_ref().map(CleanText::as_str), expected, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "A".repeat(5000));
        assert!(message(long.as_bytes()).unwrap().as_str().chars().count() <= 500);
        assert_eq!(first(&denied("why")), ("DENIED".into(), "why".into()));
    }

    #[test]
    fn json_errors_stay_and_other_bodies_become_json() {
        let own = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"limit"}]}"#;
        assert_eq!(from_upstream(StatusCode::TOO_MANY_REQUESTS, own, ""), own);
        let details = br#"{"details":"incorrect username or password"}"#;
        assert_eq!(from_upstream(StatusCode::UNAUTHORIZED, details, ""), details);
        let bare = from_upstream(StatusCode::TOO_MANY_REQUESTS, b"Too Many Requests\n", "");
        assert_eq!(first(&bare), ("TOOMANYREQUESTS".into(), "Too Many Requests".into()));
        let html = from_upstream(StatusCode::BAD_GATEWAY, b"<html>nginx</html>", "");
        assert_eq!(first(&html), ("UNAVAILABLE".into(), "Bad Gateway".into()));
        let odd = from_upstream(StatusCode::FORBIDDEN, b"go\r\naway\x1b[31m\xff", "");
        assert_eq!(first(&odd), ("DENIED".into(), "go away [31m\u{fffd}".into()));
        let missing = from_upstream(StatusCode::NOT_FOUND, b"", "BLOB_UNKNOWN");
        assert_eq!(first(&missing), ("BLOB_UNKNOWN".into(), "Not Found".into()));
    }
}
