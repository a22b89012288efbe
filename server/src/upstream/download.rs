//! A body under way. A blob's continues itself: where the transfer breaks or falls silent, the rest
//! is asked for again, and whoever reads it notices nothing but the time it takes.
//!
//! It ends only where all that was promised has come. What isn't exactly the rest is never passed
//! on.

use super::follow::Followed;
use super::origin;
use super::promise::Promise;
use super::retry::{Budget, asked_to_wait};
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::UPSTREAM_IDLE_TIMEOUT;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

/// Where the rest of a body can be had.
pub(crate) trait Source {
    /// What it sends.
    type Body: Body<Data = Bytes, Error: Error> + Unpin;

    /// Asks for these bytes (a `Range`) of the same content, from the registry on: nothing of where
    /// it was found before is good for long.
    fn rest(&self, range: HeaderValue) -> impl Future<Output = Result<Followed<Self::Body>, Fault>> + Send;

    /// A random number from 0 to 1: bodies that broke together must not all come back together.
    fn chance(&self) -> f64;
}

/// A body, as it comes from one hop and, where that breaks, from the next.
#[derive(Debug)]
pub(crate) struct Download<S: Source> {
    /// None once it broke: a connection that is of no use isn't held while another is looked for.
    part: Option<Part<S::Body>>,
    reached: u64,
    rest: Option<Rest<S>>,
}

/// How a body goes on that broke.
#[derive(Debug)]
struct Rest<S> {
    promise: Promise,
    source: S,
    budget: Budget,
}

/// The body of one answer.
#[derive(Debug)]
struct Part<B> {
    hop: Hop,
    body: B,
    /// Bytes to come that have come already.
    skip: u64,
}

/// Why an attempt to go on failed.
enum Setback {
    /// The next may do better, if it comes no sooner than the remote asks.
    Passing(Fault, Option<Duration>),
    /// No other would.
    Final(Fault),
}

impl<S: Source> Download<S> {
    /// A body that ends where it breaks.
    pub(super) fn once(hop: Hop, body: S::Body) -> Self {
        Self { part: Some(Part { hop, body, skip: 0 }), reached: 0, rest: None }
    }

    /// A body that is continued from `source`, if what was announced allows it.
    pub(super) fn continued(
        hop: Hop,
        status: StatusCode,
        headers: &HeaderMap,
        body: S::Body,
        source: S,
    ) -> Self {
        let promise = Promise::of(status, headers, body.size_hint().exact());
        let rest = promise.map(|promise| Rest { promise, source, budget: Budget::default() });
        Self { part: Some(Part { hop, body, skip: 0 }), reached: 0, rest }
    }

    /// Its length in bytes, where the sender announced one. Unknown is not zero.
    #[must_use]
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.rest {
            Some(rest) => Some(rest.promise.length()),
            None => self.part.as_ref()?.body.size_hint().exact(),
        }
    }

    /// The next bytes; `None` at the end of a whole body. hyper holds a connection that ends before
    /// the announced length, or within chunks, for an error; where nothing was announced, TLS does,
    /// unless the sender has said goodbye.
    ///
    /// # Errors
    /// Where the transfer breaks or says nothing for too long, and doesn't come up again.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let left = self.rest.as_ref().map(|rest| rest.promise.length() - self.reached);
            if left == Some(0) {
                return Ok(None);
            }
            let Some(part) = &mut self.part else {
                return Err(Fault::new(Hop::Server, FaultKind::Internal, "the body broke before"));
            };
            let fault = match (part.next().await, left) {
                (Ok(Some(bytes)), left) => return Ok(Some(self.take(bytes, left))),
                (Ok(None), None) => return Ok(None),
                (Ok(None), Some(_)) => Fault::new(part.hop, FaultKind::Truncated, "the body ended early"),
                (Err(fault), _) => fault,
            };
            self.part = None;
            let Some(rest) = &mut self.rest else { return Err(fault) };
            self.part = Some(rest.after(fault, self.reached).await?);
        }
    }

    fn take(&mut self, mut bytes: Bytes, left: Option<u64>) -> Bytes {
        if let Some(left) = left {
            // An answer that ignores ranges goes on behind the end of ours.
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.reached += bytes.len() as u64;
        if let Some(rest) = &mut self.rest {
            rest.budget.renew();
        }
        bytes
    }
}

impl<S: Source> Rest<S> {
    /// The rest of a body that broke, once `reached` bytes had come.
    async fn after(&mut self, fault: Fault, reached: u64) -> Result<Part<S::Body>, Fault> {
        let mut setback = (fault, None);
        loop {
            let (fault, asked) = setback;
            let Some(wait) = self.budget.spend(self.source.chance()) else { return Err(fault) };
            let wait = asked.map_or(wait, |asked: Duration| wait.max(asked));
            tracing::warn!(%fault, reached, wait_ms = wait.as_millis(), "a body broke off; asking for the rest");
            tokio::time::sleep(wait).await;
            setback = match self.attempt(reached).await {
                Ok(part) => return Ok(part),
                Err(Setback::Passing(fault, asked)) => (fault, asked),
                Err(Setback::Final(fault)) => return Err(fault),
            };
        }
    }

    async fn attempt(&self, reached: u64) -> Result<Part<S::Body>, Setback> {
        let Followed { hop, response } = self.source.rest(self.promise.rest(reached)).await.map_err(of)?;
        let (head, body) = response.into_parts();
        let length = body.size_hint().exact();
        if let Some(skip) = self.promise.kept_by(reached, head.status, &head.headers, length) {
            return Ok(Part { hop, body, skip });
        }
        let bad = |detail| Fault::new(hop, FaultKind::MalformedResponse, detail);
        let told = || bad(format!("answers {} when asked for the rest of a body", head.status));
        Err(match head.status {
            status if status.is_success() => {
                Setback::Passing(bad("sends something else than it began with".to_owned()), None)
            }
            // A URL that has expired is 403 with some CDNs, 400, 401 or 410 with others. The registry
            // makes a new one each time.
            status if hop == Hop::Cdn || is_passing(status) => {
                let asked = asked_to_wait(&head.headers).filter(|asked| *asked <= LONGEST_ASKED);
                Setback::Passing(told(), asked)
            }
            _ => Setback::Final(told()),
        })
    }
}

/// The longest wait that a remote is granted in the middle of a body.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// What a failure to ask means.
fn of(fault: Fault) -> Setback {
    match fault.kind {
        FaultKind::Unreachable
        | FaultKind::TimedOut
        | FaultKind::MalformedResponse
        | FaultKind::Truncated => Setback::Passing(fault, None),
        _ => Setback::Final(fault),
    }
}

impl<B: Body<Data = Bytes, Error: Error> + Unpin> Part<B> {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = tokio::time::timeout(UPSTREAM_IDLE_TIMEOUT, self.body.frame()).await;
            let frame = frame.map_err(|_| {
                let silence = UPSTREAM_IDLE_TIMEOUT.as_secs();
                Fault::new(self.hop, FaultKind::TimedOut, format!("no byte of the body for {silence} s"))
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Fault::new(self.hop, FaultKind::Truncated, origin::reason(&error)));
                }
                // Trailers say nothing that engines know.
                Some(Ok(frame)) => {
                    let Ok(mut data) = frame.into_data() else { continue };
                    let known = self.skip.min(data.len() as u64);
                    self.skip -= known;
                    // It is no longer than the data.
                    let fresh = data.split_off(known as usize);
                    if !fresh.is_empty() {
                        return Ok(Some(fresh));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
