//! The body of a hop's answer: as it comes, or read whole where it is small by its nature.
//!
//! What is read whole was passed on to nobody yet, so a body that breaks off can be asked for again.

use super::follow::Followed;
use super::origin;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{SMALL_BODY_MAX, UPSTREAM_IDLE_TIMEOUT};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body that is on its way.
pub(super) fn on_its_way(body: Incoming) -> Body {
    body.boxed_unsync()
}

/// A body that has been read already.
pub(super) fn of_bytes(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

impl Followed {
    /// The same answer, read to the end if it is a success.
    ///
    /// # Errors
    /// Where the body breaks off, or is larger than `most` bytes.
    pub(super) async fn whole(self, most: usize) -> Result<Self, Fault> {
        if !self.response.status().is_success() {
            return Ok(self);
        }
        let (head, body) = self.response.into_parts();
        let body = of_bytes(collect_up_to(most, self.hop, body).await?);
        Ok(Self { hop: self.hop, response: http::Response::from_parts(head, body) })
    }
}

/// Reads a body that is small by its nature.
pub(super) async fn collect(hop: Hop, body: Body) -> Result<Bytes, Fault> {
    collect_up_to(SMALL_BODY_MAX, hop, body).await
}

/// Reads a body of `most` bytes at most.
pub(super) async fn collect_up_to(most: usize, hop: Hop, body: Body) -> Result<Bytes, Fault> {
    let broke = |detail| Fault::new(hop, FaultKind::Truncated, format!("the body broke off: {detail}"));
    let whole = Limited::new(body, most).collect();
    match tokio::time::timeout(UPSTREAM_IDLE_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            hop,
            FaultKind::MalformedResponse,
            format!("sends more than {most} bytes where little is due"),
        )),
        Ok(Err(error)) => Err(broke(origin::reason(&*error))),
        Err(_) => Err(broke(format!("no end of it within {} s", UPSTREAM_IDLE_TIMEOUT.as_secs()))),
    }
}
