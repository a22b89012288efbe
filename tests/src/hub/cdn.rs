//! The CDN: blob bytes for whoever holds a signed URL.
//! It knows no accounts and no repositories, and refuses credentials as object stores do.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;

use super::{
    World,
    blob::Blob,
    fault::Fault,
    range::Wanted,
    reply::{Body, empty, set, whole, xml},
    token::unix_now,
    transfer::{BlobBody, Flaw, FlawKind, Part},
};

const OCTETS: &str = "application/octet-stream";
const BOUNDARY: &str = "docxy-stand-in-boundary";

pub(super) fn answer<B>(world: &World, request: &Request<B>) -> Response<Body> {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return xml(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed.",
        );
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return xml(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed");
    }
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path();
    let digest = match world.urls.open(path, query, unix_now()) {
        Ok(digest) => digest,
        Err(refusal) => return xml(StatusCode::FORBIDDEN, "AccessDenied", &refusal.to_string()),
    };
    let Some(blob) = world.store.any_blob(&digest) else {
        return xml(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    let mut response = serve(world, path, request.method(), headers, blob);
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "etag", &etag(digest.hex()));
    response
}

fn serve(world: &World, path: &str, method: &Method, headers: &HeaderMap, blob: Blob) -> Response<Body> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = etag(blob.digest().hex());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.contains(&etag)) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let mut range = text(header::RANGE);
    if text(header::IF_RANGE).is_some_and(|tag| tag != etag) {
        range = None;
    }
    if range.is_some() && world.faults.take(path, |fault| *fault == Fault::IgnoreRange).is_some() {
        range = None;
    }
    let len = blob.len();
    let head = *method == Method::HEAD;
    match Wanted::parse(range, len) {
        Wanted::Whole => single(world, path, head, blob, (0, len), None),
        Wanted::Spans(spans) => match spans[..] {
            [(start, end)] => single(world, path, head, blob, (start, end), Some(len)),
            _ => multiple(world, head, blob, &spans),
        },
        Wanted::Unsatisfiable => {
            let message = "The requested range is not satisfiable";
            let mut response = xml(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
            set(&mut response, "content-range", &format!("bytes */{len}"));
            response
        }
    }
}

/// One stretch of the blob: all of it, or a part out of `total`.
fn single(
    world: &World,
    path: &str,
    head: bool,
    blob: Blob,
    (start, mut end): (u64, u64),
    total: Option<u64>,
) -> Response<Body> {
    let truncates =
        |fault: &Fault| matches!(fault, Fault::TruncateAt { byte } if (start..end).contains(byte));
    if !head && let Some(Fault::TruncateAt { byte }) = world.faults.take(path, truncates) {
        end = byte;
    }
    let span = Part::Span { at: start, end };
    let mut response = send(world, path, head, blob, VecDeque::from([span]), (start, end));
    set(&mut response, "content-type", OCTETS);
    if let Some(total) = total {
        let wrong = world.faults.take(path, |fault| *fault == Fault::WrongRange).is_some();
        let first = if wrong { start + 1 } else { start };
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, "content-range", &format!("bytes {first}-{}/{total}", end - 1));
    }
    response
}

/// Several stretches, as a multipart message.
fn multiple(world: &World, head: bool, blob: Blob, spans: &[(u64, u64)]) -> Response<Body> {
    let len = blob.len();
    let mut parts = VecDeque::new();
    for &(at, end) in spans {
        let range = format!("bytes {at}-{}/{len}", end - 1);
        let heading = format!("\r\n--{BOUNDARY}\r\nContent-Type: {OCTETS}\r\nContent-Range: {range}\r\n\r\n");
        parts.extend([Part::Text(heading.into()), Part::Span { at, end }]);
    }
    parts.push_back(Part::Text(format!("\r\n--{BOUNDARY}--\r\n").into()));
    let mut response = send(world, "", head, blob, parts, spans[0]);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(&mut response, "content-type", &format!("multipart/byteranges; boundary={BOUNDARY}"));
    response
}

fn send(
    world: &World,
    path: &str,
    head: bool,
    blob: Blob,
    parts: VecDeque<Part>,
    (start, end): (u64, u64),
) -> Response<Body> {
    let len: u64 = parts.iter().map(Part::len).sum();
    let body = if head || len == 0 {
        whole(Bytes::new())
    } else {
        let flaw = flaw(world, path, start, end);
        let record = world.transfers.begin(blob.digest().clone(), start);
        BlobBody { blob, parts, flaw, record }.boxed_unsync()
    };
    let mut response = Response::new(body);
    set(&mut response, "content-length", &len.to_string());
    response
}

/// The armed flaw that this response would run into.
fn flaw(world: &World, path: &str, start: u64, end: u64) -> Option<Flaw> {
    let sent = start..end;
    let release = world.faults.next_release();
    let fault = world.faults.take(path, |fault| match fault {
        Fault::CutAt { byte } | Fault::StallAt { byte } | Fault::CorruptAt { byte } => sent.contains(byte),
        _ => false,
    })?;
    match fault {
        Fault::CutAt { byte } => Some(Flaw { byte, kind: FlawKind::Cut { flushed: false } }),
        Fault::CorruptAt { byte } => Some(Flaw { byte, kind: FlawKind::Corrupt }),
        Fault::StallAt { byte } => Some(Flaw { byte, kind: FlawKind::Stall(Box::pin(release)) }),
        _ => None,
    }
}

/// Object stores use MD5 here; clients may only compare it.
fn etag(hex: &str) -> String {
    format!("\"{}\"", &hex[..32])
}
