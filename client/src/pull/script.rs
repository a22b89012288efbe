//! For tests: a registry that gives the answers that it was told to, one after the other.

use super::source::{Ask, Body};
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use futures_util::stream;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use std::collections::VecDeque;
use std::sync::Mutex;

pub(super) struct Script {
    answers: Mutex<VecDeque<Response<Body>>>,
    ranges: Mutex<Vec<String>>,
}

impl Script {
    pub(super) fn new(answers: Vec<Response<Body>>) -> Self {
        Self { answers: Mutex::new(answers.into()), ranges: Mutex::default() }
    }

    /// The `Range` of every request so far; empty where it had none.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

impl Ask for &Script {
    async fn ask(&self, request: Request) -> Result<Response<Body>, Fault> {
        let range = request.headers.get_str(&header::RANGE).unwrap_or_default().to_owned();
        self.ranges.lock().unwrap().push(range);
        Ok(self.answers.lock().unwrap().pop_front().expect("the script has an answer left"))
    }
}

/// An answer with a whole body.
pub(super) fn answer(status: u16, body: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

/// An answer whose body breaks off.
pub(super) fn broken_after(status: u16, body: &str) -> Response<Body> {
    let start = Ok(Frame::data(Bytes::from(body.to_owned())));
    let end = Err(Fault::new(Hop::Tunnel, FaultKind::Truncated, "cut"));
    let body = StreamBody::new(stream::iter([start, end])).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}
