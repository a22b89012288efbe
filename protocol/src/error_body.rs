//! Error bodies in the format of the distribution spec ("Error Codes").
//!
//! An engine must never get HTML: a body that is not JSON is converted; its status stays.

use crate::fault::Fault;
use crate::text::CleanText;
use http::StatusCode;
use serde_json::{Value, json};

/// The media type of these bodies.
pub const MEDIA_TYPE: &str = "application/json";

/// The body for one of our own faults.
#[must_use]
pub fn from_fault(fault: &Fault) -> Vec<u8> {
    render(fault.oci_code(), &format!("docxy: {fault}"), json!({ "hop": fault.hop.to_string() }))
}

/// The body for an upstream error with this status and the body `original`: that body itself if it is JSON
/// (`docker` prints its details), else its text in the format of the spec.
///
/// `unknown_code` is the code for a 404: only the operation says what was not found.
#[must_use]
pub fn from_upstream(status: StatusCode, original: &[u8], unknown_code: &str) -> Vec<u8> {
    if matches!(serde_json::from_slice(original), Ok(Value::Object(_))) {
        return original.to_vec();
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
