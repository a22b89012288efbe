//! Responses that the client makes: faults, the public token, the health.

use crate::transfer::Transfer;
use bytes::Bytes;
use docxy_protocol::authorization::PUBLIC_TOKEN;
use docxy_protocol::error_body;
use docxy_protocol::fault::{Fault, FaultKind};
use docxy_protocol::route::allowed_methods;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use serde_json::json;

/// A body of this client, or one that comes through the tunnel.
pub(super) type ResponseBody = Either<Full<Bytes>, Transfer>;

/// How long engines may use the public token, in seconds. It never expires, but engines should notice a
/// change.
const PUBLIC_TOKEN_LIFETIME: u32 = 3600;

/// The error response for a fault of the request for `path`, in the format of a registry.
pub(super) fn fault(fault: &Fault, path: &str) -> Response<ResponseBody> {
    let mut response = json_bytes(fault.status(), error_body::from_fault(fault));
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

/// The same response, after which the connection closes.
pub(super) fn last(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to a token request without a credential (distribution's "Token Authentication").
pub(super) fn public_token() -> Response<ResponseBody> {
    json_value(
        StatusCode::OK,
        &json!({
            "token": PUBLIC_TOKEN,
            "access_token": PUBLIC_TOKEN,
            "expires_in": PUBLIC_TOKEN_LIFETIME,
            "issued_at": jiff::Timestamp::now().to_string(),
        }),
    )
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
