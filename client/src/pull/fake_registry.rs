//! For tests: a registry with prepared responses.

use super::image_source::{RegistryBody, RegistryClient};
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use futures_util::stream;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use std::collections::VecDeque;
use std::sync::Mutex;

pub(super) struct FakeRegistry {
    responses: Mutex<VecDeque<Response<RegistryBody>>>,
    ranges: Mutex<Vec<String>>,
}

impl FakeRegistry {
    pub(super) fn new(responses: Vec<Response<RegistryBody>>) -> Self {
        Self { responses: Mutex::new(responses.into()), ranges: Mutex::default() }
    }

    /// The `Range` of each request so far; empty without one.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

impl RegistryClient for &FakeRegistry {
    async fn send(&self, request: Request) -> Result<Response<RegistryBody>, Fault> {
        let range = request.headers.get_str(&header::RANGE).unwrap_or_default().to_owned();
        self.ranges.lock().unwrap().push(range);
        Ok(self.responses.lock().unwrap().pop_front().expect("a response is left"))
    }
}

/// A response with a complete body.
pub(super) fn response(status: u16, body: &str) -> Response<RegistryBody> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

/// A response whose body is interrupted.
pub(super) fn broken_after(status: u16, body: &str) -> Response<RegistryBody> {
    let start = Ok(Frame::data(Bytes::from(body.to_owned())));
    let end = Err(Fault::new(Hop::Tunnel, FaultKind::Truncated, "cut"));
    let body = StreamBody::new(stream::iter([start, end])).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}
