//! A streaming body. If the transfer of a blob is interrupted or stalls, the rest is fetched with a range
//! request, and the reader notices only a delay.
//!
//! Must never end before all announced bytes have been read, or forward bytes that are not exactly the
//! continuation.

use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::{BoxError, next_data};
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::{RETRIES_MAX, RETRY_SCHEDULE};
use bytes::Bytes;
use docxy_host::random::random_fraction;
use docxy_protocol::backoff::Backoff;
use docxy_protocol::content_range::ContentRange;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{PATIENCE_MAX, UPSTREAM_HEADER_TIMEOUT};
use docxy_protocol::retry_after::retry_after;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Body;
use std::ops::Range;
use std::time::Duration;

/// Fetches ranges of one blob.
pub(crate) trait RangeSource {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Unpin;

    /// Fetches this `Range` of the blob, starting at the registry, since the CDN's URL may have expired. The head of
    /// the response must arrive within `timeout`.
    fn fetch_range(
        &self,
        range: HeaderValue,
        timeout: Duration,
    ) -> impl Future<Output = Result<UpstreamResponse<Self::Body>, UpstreamError>> + Send;

    /// Counts that the rest is fetched after this fault.
    fn count_retry(&self, _fault: &Fault) {}
}

/// A streaming body, from one response or from several in turn.
#[derive(Debug)]
pub(crate) struct Download<S: RangeSource> {
    /// `None` after a failure, so that the broken connection is closed before a new one is made.
    part: Option<BodyPart<S::Body>>,
    received: u64,
    resume: Option<Resume<S>>,
}

/// How a body is resumed after a failure.
#[derive(Debug)]
struct Resume<S> {
    /// The bytes that the first response announced.
    expected: ContentRange,
    source: S,
    backoff: Backoff,
}

/// The body of one response.
#[derive(Debug)]
struct BodyPart<B> {
    hop: Hop,
    body: B,
    /// The bytes at its start that were received before.
    skip: u64,
}

impl<S: RangeSource> Download<S> {
    /// A body that is resumed from `source`, if there is one, and its header fields allow that.
    pub(crate) fn new(
        hop: Hop,
        status: StatusCode,
        headers: &HeaderMap,
        body: S::Body,
        source: Option<S>,
    ) -> Self {
        let resume = source.and_then(|source| {
            // A body of unknown length may be longer than it says, and is not resumed.
            let length = body.size_hint().exact()?;
            let expected = ContentRange::of_response(status, headers, Some(length))?;
            Some(Resume { expected, source, backoff: Backoff::new(RETRY_SCHEDULE) })
        });
        Self { part: Some(BodyPart { hop, body, skip: 0 }), received: 0, resume }
    }

    /// These bytes of a blob, of which no response has been requested yet.
    ///
    /// # Errors
    /// If no attempt succeeds.
    pub(crate) async fn fetch(source: S, expected: ContentRange) -> Result<Self, UpstreamError> {
        let mut resume = Resume { expected, source, backoff: Backoff::new(RETRY_SCHEDULE) };
        let part = match resume.attempt(0, response_timeout(0)).await {
            Ok(part) => part,
            Err(error) => resume.after(error, 0).await?,
        };
        Ok(Self { part: Some(part), received: 0, resume: Some(resume) })
    }

    /// The length in bytes, if the sender announced it. Unknown is not zero.
    #[must_use]
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.resume {
            Some(resume) => Some(resume.expected.length()),
            None => self.part.as_ref()?.body.size_hint().exact(),
        }
    }

    /// The next bytes; `None` at the end of a whole body. hyper reports an error if a connection ends
    /// before the announced length or within a chunk. If no length is announced, TLS reports an error,
    /// unless the sender has sent `close_notify`.
    ///
    /// # Errors
    /// If the transfer is interrupted or stalls, and cannot be resumed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let remaining = self.resume.as_ref().map(|resume| resume.expected.length() - self.received);
            if remaining == Some(0) {
                return Ok(None);
            }
            let Some(part) = &mut self.part else {
                return Err(UpstreamError::internal("this body has already failed"));
            };
            let fault = match (part.next().await, remaining) {
                (Ok(Some(bytes)), remaining) => return Ok(Some(self.take(bytes, remaining))),
                (Ok(None), None) => return Ok(None),
                (Ok(None), Some(_)) => {
                    UpstreamError::new(part.hop, FaultKind::Truncated, "the body ended early")
                }
                (Err(fault), _) => fault,
            };
            self.part = None;
            let Some(resume) = &mut self.resume else { return Err(fault) };
            // Boxed, since it is rare and would be most of an exchange's task.
            self.part = Some(Box::pin(resume.after(fault, self.received)).await?);
        }
    }

    fn take(&mut self, mut bytes: Bytes, remaining: Option<u64>) -> Bytes {
        if let Some(remaining) = remaining {
            // A response that ignores ranges continues after the end of the expected range.
            bytes.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
        }
        self.received += bytes.len() as u64;
        if let Some(resume) = &mut self.resume {
            resume.backoff.reset();
        }
        bytes
    }
}

impl<S: RangeSource> Resume<S> {
    /// The body of the rest, after `received` bytes and then this error.
    async fn after(
        &mut self,
        mut error: UpstreamError,
        received: u64,
    ) -> Result<BodyPart<S::Body>, UpstreamError> {
        while error.is_transient() && self.backoff.retries() < RETRIES_MAX {
            let delay = self.backoff.next_delay(Duration::ZERO, random_fraction());
            let delay = delay.max(error.retry_after.unwrap_or(Duration::ZERO));
            self.source.count_retry(&error.fault);
            tracing::debug!(
                fault = %error, causes = error.causes().map(tracing::field::display), received,
                delay_ms = delay.as_millis(), "a body was interrupted; fetching the rest"
            );
            tokio::time::sleep(delay).await;
            error = match self.attempt(received, response_timeout(self.backoff.retries())).await {
                Ok(part) => return Ok(part),
                Err(error) => error,
            };
        }
        Err(error.after_retries())
    }

    async fn attempt(&self, received: u64, timeout: Duration) -> Result<BodyPart<S::Body>, UpstreamError> {
        let Range { start, end } = *self.expected.bytes();
        let wanted = self.expected.with_bytes(start + received..end);
        let wanted = wanted.ok_or_else(|| UpstreamError::internal("this body has no rest"))?;
        let fetched = self.source.fetch_range(wanted.to_range(), timeout).await?;
        let UpstreamResponse { hop, response, .. } = fetched;
        let (head, body) = response.into_parts();
        let length = body.size_hint().exact();
        let range = ContentRange::of_response(head.status, &head.headers, length);
        if let Some(skip) = range.and_then(|range| range.bytes_before(&wanted)) {
            return Ok(BodyPart { hop, body, skip });
        }
        let (kind, detail) = match head.status {
            // Another host may send what the first one did.
            status if status.is_success() => {
                (FaultKind::MalformedResponse, "sends other content than at first".to_owned())
            }
            status => {
                // For an expired URL, some CDNs respond 403, others 400, 401 or 410. The registry makes a new URL for
                // each request.
                let is_cdn = hop == Hop::Cdn;
                let kind = if is_cdn { FaultKind::MalformedResponse } else { FaultKind::of_status(status) };
                (kind, format!("responds {status} to the request for the rest of a body"))
            }
        };
        let retry_after = retry_after(&head.headers).filter(|delay| *delay <= RETRY_AFTER_IN_BODY_MAX);
        Err(UpstreamError::new(hop, kind, detail).retry_after(retry_after))
    }
}

/// How long the n-th attempt in a row waits for its response. A silent host may be broken, and another attempt may
/// reach another one; but content in cold storage takes its time on each of them.
fn response_timeout(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    UPSTREAM_HEADER_TIMEOUT.saturating_mul(1 << doublings).min(PATIENCE_MAX)
}

/// The longest `Retry-After` that is respected in the middle of a body. A longer one is ignored.
const RETRY_AFTER_IN_BODY_MAX: Duration = Duration::from_secs(60);

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> BodyPart<B> {
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let Some(mut data) = next_data(self.hop, &mut self.body).await? else { return Ok(None) };
            let skipped = self.skip.min(data.len() as u64);
            self.skip -= skipped;
            // It fits, because it is at most the data's length.
            let new = data.split_off(skipped as usize);
            if !new.is_empty() {
                // A copy: hyper's are part of a read buffer, which they would keep whole while they wait for
                // the client. A record of TLS fills half of it, or a sixth.
                return Ok(Some(Bytes::copy_from_slice(&new)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
