//! The CDN: serves blob bytes for a signed URL.
//! Must never know accounts or repositories. It rejects credentials, as object stores do.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::{
    content::blob::Blob,
    http::{
        range::RangeRequest,
        response::{Body, empty, full, set_header, xml_error},
    },
    service::token::unix_now,
    state::HubState,
    steering::{
        fault::Fault,
        transfer::{BlobBody, BodyFault, BodyFaultKind, BodyPart},
    },
};

const OCTET_STREAM: &str = "application/octet-stream";
const BOUNDARY: &str = "docxy-stand-in-boundary";

pub(crate) fn handle<B>(hub: &HubState, request: &Request<B>) -> Response<Body> {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return xml_error(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed.",
        );
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return xml_error(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed");
    }
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path();
    let digest = match hub.urls.verify(path, query, unix_now()) {
        Ok(digest) => digest,
        Err(refusal) => return xml_error(StatusCode::FORBIDDEN, "AccessDenied", &refusal.to_string()),
    };
    let Some(blob) = hub.store.any_blob(&digest) else {
        return xml_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    let mut response = serve_blob(hub, path, request.method(), headers, blob);
    set_header(&mut response, "accept-ranges", "bytes");
    set_header(&mut response, "etag", &etag(digest.hex()));
    response
}

fn serve_blob(
    hub: &HubState,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
    blob: Blob,
) -> Response<Body> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = etag(blob.digest().hex());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.contains(&etag)) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let mut range = text(header::RANGE);
    if text(header::IF_RANGE).is_some_and(|tag| tag != etag) {
        range = None;
    }
    if range.is_some() && hub.faults.take(path, |fault| *fault == Fault::IgnoreRange).is_some() {
        range = None;
    }
    let len = blob.len();
    let head = *method == Method::HEAD;
    match RangeRequest::parse(range, len) {
        RangeRequest::Full => single_range(hub, path, head, blob, (0, len), None),
        RangeRequest::Ranges(ranges) => match ranges[..] {
            [(start, end)] => single_range(hub, path, head, blob, (start, end), Some(len)),
            _ => multipart(hub, head, blob, &ranges),
        },
        RangeRequest::Unsatisfiable => {
            let message = "The requested range is not satisfiable";
            let mut response = xml_error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
            set_header(&mut response, "content-range", &format!("bytes */{len}"));
            response
        }
    }
}

/// One range of the blob: all of it, or a part of `total` bytes.
fn single_range(
    hub: &HubState,
    path: &str,
    head: bool,
    blob: Blob,
    (start, mut end): (u64, u64),
    total: Option<u64>,
) -> Response<Body> {
    let truncates =
        |fault: &Fault| matches!(fault, Fault::TruncateAt { byte } if (start..end).contains(byte));
    if !head && let Some(Fault::TruncateAt { byte }) = hub.faults.take(path, truncates) {
        end = byte;
    }
    let range = BodyPart::BlobRange { at: start, end };
    let mut response = send(hub, path, head, blob, VecDeque::from([range]), (start, end));
    set_header(&mut response, "content-type", OCTET_STREAM);
    if let Some(total) = total {
        let wrong = hub.faults.take(path, |fault| *fault == Fault::WrongRange).is_some();
        let first = if wrong { start + 1 } else { start };
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set_header(&mut response, "content-range", &format!("bytes {first}-{}/{total}", end - 1));
    }
    response
}

/// Several ranges, as a multipart message.
fn multipart(hub: &HubState, head: bool, blob: Blob, ranges: &[(u64, u64)]) -> Response<Body> {
    let len = blob.len();
    let mut parts = VecDeque::new();
    for &(at, end) in ranges {
        let range = format!("bytes {at}-{}/{len}", end - 1);
        let heading =
            format!("\r\n--{BOUNDARY}\r\nContent-Type: {OCTET_STREAM}\r\nContent-Range: {range}\r\n\r\n");
        parts.extend([BodyPart::Text(heading.into()), BodyPart::BlobRange { at, end }]);
    }
    parts.push_back(BodyPart::Text(format!("\r\n--{BOUNDARY}--\r\n").into()));
    let mut response = send(hub, "", head, blob, parts, ranges[0]);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set_header(&mut response, "content-type", &format!("multipart/byteranges; boundary={BOUNDARY}"));
    response
}

fn send(
    hub: &HubState,
    path: &str,
    head: bool,
    blob: Blob,
    parts: VecDeque<BodyPart>,
    (start, end): (u64, u64),
) -> Response<Body> {
    let len: u64 = parts.iter().map(BodyPart::len).sum();
    let body = if head || len == 0 {
        full(Bytes::new())
    } else {
        let fault = take_body_fault(hub, path, start, end);
        let record = hub.transfers.begin(blob.digest().clone(), start);
        BlobBody { blob, parts, fault, record }.boxed_unsync()
    };
    let mut response = Response::new(body);
    set_header(&mut response, "content-length", &len.to_string());
    response
}

/// Takes the armed fault whose byte this response would send.
fn take_body_fault(hub: &HubState, path: &str, start: u64, end: u64) -> Option<BodyFault> {
    let sent = start..end;
    let release = hub.faults.next_release();
    let fault = hub.faults.take(path, |fault| match fault {
        Fault::CutAt { byte }
        | Fault::ExpireAt { byte }
        | Fault::StallAt { byte }
        | Fault::CorruptAt { byte } => sent.contains(byte),
        _ => false,
    })?;
    let (byte, kind) = match fault {
        Fault::CutAt { byte } => (byte, BodyFaultKind::Cut { flushed: false, expired: None }),
        Fault::ExpireAt { byte } => {
            (byte, BodyFaultKind::Cut { flushed: false, expired: Some(hub.tokens.epoch()) })
        }
        Fault::CorruptAt { byte } => (byte, BodyFaultKind::Corrupt),
        Fault::StallAt { byte } => (byte, BodyFaultKind::Stall(Box::pin(release))),
        _ => return None,
    };
    Some(BodyFault { byte, kind })
}

/// Object stores use MD5 here; clients may only compare the value.
fn etag(hex: &str) -> String {
    format!("\"{}\"", &hex[..32])
}
