//! For tests: a registry with prepared responses.

use super::image_source::{BlobEvents, RegistryClient};
use crate::gateway::TransferEvent;
use bytes::Bytes;
use docxy_protocol::fault::Fault;
use docxy_protocol::request::Request;
use futures_util::stream::{StreamExt as _, iter};
use http::Response;
use std::collections::VecDeque;
use std::sync::Mutex;

#[derive(Default)]
pub(super) struct FakeRegistry {
    responses: Mutex<VecDeque<Response<Bytes>>>,
    blob: Bytes,
    blob_end: Option<Fault>,
}

impl FakeRegistry {
    /// A registry that responds this to requests for manifests.
    pub(super) fn new(responses: Vec<Response<Bytes>>) -> Self {
        Self { responses: Mutex::new(responses.into()), ..Self::default() }
    }

    /// A registry with this blob, whose transfer ends with this fault, if any.
    pub(super) fn with_blob(content: &str, blob_end: Option<Fault>) -> Self {
        Self { blob: Bytes::from(content.to_owned()), blob_end, ..Self::default() }
    }
}

impl RegistryClient for &FakeRegistry {
    async fn send(&self, _: Request) -> Result<Response<Bytes>, Fault> {
        Ok(self.responses.lock().unwrap().pop_front().expect("a response is left"))
    }

    fn blob(&self, _: Request, _: u64) -> BlobEvents<'_> {
        let bytes = Ok(TransferEvent::Bytes(self.blob.clone()));
        iter([bytes]).chain(iter(self.blob_end.clone().map(Err))).boxed()
    }
}

/// A response with a complete body.
pub(super) fn response(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_owned().into()).unwrap()
}
