//! Response bodies: streaming, or read whole if they are small.
//!
//! Must never forward part of a body that is read whole: if it breaks off, the request can be sent again.

use super::request_fault::describe_error;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{SMALL_BODY_MAX, UPSTREAM_IDLE_TIMEOUT};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

/// The body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body that is read from its connection.
pub(in crate::upstream) fn streaming(body: Incoming) -> Body {
    body.boxed_unsync()
}

/// A body that is already in memory.
pub(in crate::upstream) fn from_bytes(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Reads a small body to its end.
pub(in crate::upstream) async fn collect(hop: Hop, body: Body) -> Result<Bytes, Fault> {
    collect_up_to(SMALL_BODY_MAX, hop, body).await
}

/// Reads a body of at most `max_bytes` to its end.
pub(in crate::upstream) async fn collect_up_to(
    max_bytes: usize,
    hop: Hop,
    body: Body,
) -> Result<Bytes, Fault> {
    let truncated = |detail| Fault::new(hop, FaultKind::Truncated, format!("the body broke off: {detail}"));
    let whole = Limited::new(body, max_bytes).collect();
    match tokio::time::timeout(UPSTREAM_IDLE_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            hop,
            FaultKind::MalformedResponse,
            format!("the body is larger than the limit of {max_bytes} bytes"),
        )),
        Ok(Err(error)) => Err(truncated(describe_error(&*error))),
        Err(_) => Err(truncated(format!("it did not end within {} s", UPSTREAM_IDLE_TIMEOUT.as_secs()))),
    }
}
