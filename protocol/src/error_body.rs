//! Error bodies as the distribution spec wants them ("Error Codes").
//!
//! An engine must never see HTML: what isn't JSON is put into the format, with its status kept.

use crate::fault::Fault;
use crate::text::CleanText;
use http::StatusCode;
use serde_json::{Value, json};

/// The media type of these bodies.
pub const MEDIA_TYPE: &str = "application/json";

/// The body that tells an engine about a fault of ours.
#[must_use]
pub fn of_fault(fault: &Fault) -> Vec<u8> {
    render(fault.oci_code(), &format!("docxy: {fault}"), json!({ "hop": fault.hop.to_string() }))
}

/// The body for an upstream answer with this status whose own body is `original`: that body
/// itself if it is JSON (its details are what `docker` prints), else its text in the format.
///
/// `unknown_code` is the code for a 404, since only the operation says what was not found.
#[must_use]
pub fn of_upstream(status: StatusCode, original: &[u8], unknown_code: &str) -> Vec<u8> {
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
    render(code_of(status, unknown_code), message.as_str(), Value::Null)
}

fn code_of(status: StatusCode, unknown_code: &str) -> &str {
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
    fn a_fault_names_its_hop() {
        let (code, message) =
            first(&of_fault(&Fault::new(Hop::Tunnel, FaultKind::Down, "no answer since 10 s")));
        assert_eq!((code.as_str(), message.as_str()), ("UNAVAILABLE", "docxy: tunnel: no answer since 10 s"));
    }

    #[test]
    fn the_registrys_own_words_stay_and_everything_else_becomes_json() {
        let own = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"limit"}]}"#;
        assert_eq!(of_upstream(StatusCode::TOO_MANY_REQUESTS, own, ""), own);
        let details = br#"{"details":"incorrect username or password"}"#;
        assert_eq!(of_upstream(StatusCode::UNAUTHORIZED, details, ""), details);
        let bare = of_upstream(StatusCode::TOO_MANY_REQUESTS, b"Too Many Requests\n", "");
        assert_eq!(first(&bare), ("TOOMANYREQUESTS".into(), "Too Many Requests".into()));
        let html = of_upstream(StatusCode::BAD_GATEWAY, b"<html>nginx</html>", "");
        assert_eq!(first(&html), ("UNAVAILABLE".into(), "Bad Gateway".into()));
        let odd = of_upstream(StatusCode::FORBIDDEN, b"go\r\naway\x1b[31m\xff", "");
        assert_eq!(first(&odd), ("DENIED".into(), "go away [31m\u{fffd}".into()));
        let missing = of_upstream(StatusCode::NOT_FOUND, b"", "BLOB_UNKNOWN");
        assert_eq!(first(&missing), ("BLOB_UNKNOWN".into(), "Not Found".into()));
    }
}
