//! A small answer that has been read whole, so that any number of askers can be told what it says.

use super::answer::{Answer, AnswerBody};
use super::body::{Body, collect};
use super::follow::Followed;
use bytes::Bytes;
use docxy_protocol::error_body;
use docxy_protocol::fault::Hop;
use docxy_protocol::headers::Headers;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

/// A small answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SmallAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

impl SmallAnswer {
    /// What an answer says that is on its way. Its status is what counts: where the body cannot be read,
    /// there is none.
    pub(super) async fn read(hop: Hop, response: http::Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = collect(hop, body).await.unwrap_or_default();
        Self { status: head.status, headers: Headers::filter_response(&head.headers), body }
    }

    /// The same of an answer that was checked.
    pub(super) fn of(answer: Answer) -> Self {
        let Answer { status, headers, body } = answer;
        let body = match body {
            AnswerBody::None => Bytes::new(),
            AnswerBody::Small(bytes) => bytes,
            // Of a blob alone.
            AnswerBody::Stream(_) => Bytes::new(),
        };
        Self { status, headers, body }
    }

    /// An error in place of the answer to a `HEAD`, which has no words.
    pub(super) fn without_words(answer: Answer) -> Self {
        let Answer { status, mut headers, .. } = answer;
        headers.set(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
        let body = error_body::from_upstream(status, b"", "MANIFEST_UNKNOWN");
        Self { status, headers, body: body.into() }
    }

    /// The answer as if this hop had just given it.
    pub(super) fn into_followed(self, hop: Hop) -> Followed {
        let body = Full::new(self.body).map_err(|never| match never {}).boxed_unsync();
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into_map();
        Followed { hop, response }
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn size(&self) -> usize {
        self.headers.size() + self.body.len()
    }
}
