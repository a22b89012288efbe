//! One request and its answer, on one stream and, for a large body, on the segment streams that
//! the client offers.
//!
//! Nothing is collected: the upstream body is read once, in order, and only as fast as the client
//! takes it. An answer that isn't finished is reset, never ended.

mod outgoing;
mod segments;

pub(crate) use outgoing::Outgoing;
pub(crate) use segments::{Offered, Offers, Ranks};

use crate::upstream::{Answer, AnswerBody, Download, Upstream};
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT;
use docxy_protocol::reply::{Body, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::segment::Layout;
use outgoing::SendError;
use std::time::Instant;

/// How an exchange ended, for the log.
#[derive(Debug)]
enum Ended {
    /// Everything was sent.
    Sent { status: u16, bytes: u64 },
    /// The client was told of a fault.
    Failed(Fault),
    /// The client wanted no more, or is gone.
    Cancelled,
}

/// Answers a request. Runs until the answer is sent, has failed or isn't wanted any more.
pub(crate) async fn run(
    request: Request,
    answer: Outgoing,
    offers: Offers,
    ranks: &Ranks,
    upstream: &Upstream,
) {
    let started = Instant::now();
    let stopped = answer.stopped();
    let ended = tokio::select! {
        ended = respond(&request, answer, offers, ranks, upstream) => ended,
        // Dropping the work closes the connection to the registry or CDN.
        () = stopped => Ended::Cancelled,
    };
    let ms = started.elapsed().as_millis();
    match ended {
        Ended::Sent { status, bytes } => tracing::info!(status, bytes, ms, "answered"),
        Ended::Failed(fault) => tracing::warn!(%fault, ms, "failed"),
        Ended::Cancelled => tracing::info!(ms, "cancelled"),
    }
}

/// Answers a request that came after the server was told to end.
pub(crate) async fn refuse_draining(answer: Outgoing) {
    let fault = Fault::new(Hop::Server, FaultKind::Down, CloseCode::Draining.reason());
    if refuse(answer, &fault).await.is_ok() {
        tracing::info!(%fault, "refused");
    }
}

async fn respond(
    request: &Request,
    answer: Outgoing,
    offers: Offers,
    ranks: &Ranks,
    upstream: &Upstream,
) -> Ended {
    let sent = match upstream.ask(request).await {
        Ok(upstream_answer) => send(request, upstream_answer, answer, offers, ranks).await,
        Err(fault) => refuse(answer, &fault).await.map(|()| Ended::Failed(fault)),
    };
    sent.unwrap_or(Ended::Cancelled)
}

/// Tells the client of a fault while no head is out yet.
async fn refuse(mut answer: Outgoing, fault: &Fault) -> Result<(), SendError> {
    // A fault's text is bounded, so its frame is.
    let Ok(head) = head(&Reply::Fault(fault.clone())) else { return Err(SendError) };
    answer.write(head).await?;
    answer.finish()
}

async fn send(
    request: &Request,
    mut upstream: Answer,
    mut answer: Outgoing,
    offers: Offers,
    ranks: &Ranks,
) -> Result<Ended, SendError> {
    let layout = match &upstream.body {
        AnswerBody::Stream(download) if is_blob(&request.operation) => {
            download.length().and_then(|length| Layout::new(length, SEGMENT).ok()).filter(|l| l.count() > 1)
        }
        _ => None,
    };
    let shape = match (&upstream.body, layout) {
        (AnswerBody::None, _) => Body::None,
        (AnswerBody::Small(bytes), _) => Body::Whole { length: Some(bytes.len() as u64) },
        (AnswerBody::Stream(_), Some(layout)) => Body::Segmented(layout),
        (AnswerBody::Stream(download), None) => Body::Whole { length: download.length() },
    };
    let status = upstream.status.as_u16();
    let headers = std::mem::take(&mut upstream.headers);
    let response = Response { status: upstream.status, headers, body: shape };
    match head(&Reply::Response(response)) {
        Ok(head) => answer.write(head).await?,
        Err(fault) => return refuse(answer, &fault).await.map(|()| Ended::Failed(fault)),
    }
    let bytes = match (&mut upstream.body, layout) {
        (AnswerBody::None, _) => 0,
        (AnswerBody::Small(bytes), _) => {
            answer.write(bytes.clone()).await?;
            bytes.len() as u64
        }
        (AnswerBody::Stream(download), None) => match pour(download, &mut answer).await? {
            Ok(bytes) => bytes,
            Err(fault) => return Ok(fail(answer, fault)),
        },
        (AnswerBody::Stream(download), Some(layout)) => match fill(download, layout, offers, ranks).await? {
            Ok(()) => layout.length(),
            Err(fault) => return Ok(fail(answer, fault)),
        },
    };
    answer.finish()?;
    Ok(Ended::Sent { status, bytes })
}

/// A body that travels on the answering stream.
async fn pour(download: &mut Download, answer: &mut Outgoing) -> Result<Result<u64, Fault>, SendError> {
    let mut sent = 0;
    loop {
        match download.next().await {
            Ok(Some(chunk)) => {
                sent += chunk.len() as u64;
                answer.write(chunk).await?;
            }
            Ok(None) => return Ok(Ok(sent)),
            Err(fault) => return Ok(Err(fault)),
        }
    }
}

/// A body that travels in segments: fills the streams that the client offers, one after the other.
async fn fill(
    download: &mut Download,
    layout: Layout,
    mut offers: Offers,
    ranks: &Ranks,
) -> Result<Result<(), Fault>, SendError> {
    let mut spare = bytes::Bytes::new();
    for n in 0..layout.count() {
        // Waiting here is what holds the CDN back while the client has offered nothing.
        let mut segment = offers.take(n).await?;
        segment.set_rank(ranks.next());
        let range = layout.range(n);
        let mut left = range.end - range.start;
        while left > 0 {
            if spare.is_empty() {
                spare = match next_of(download).await {
                    Ok(chunk) => chunk,
                    Err(fault) => {
                        // On the segment, too: that is where the client is reading.
                        segment.reset(&fault);
                        return Ok(Err(fault));
                    }
                };
            }
            let part = spare.split_to(spare.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= part.len() as u64;
            segment.write(part).await?;
        }
        segment.finish()?;
    }
    // The end of the body must be seen before the answer may say that it was whole.
    match download.next().await {
        Ok(None) if spare.is_empty() => Ok(Ok(())),
        Ok(_) => Ok(Err(Fault::new(Hop::Cdn, FaultKind::BadAnswer, "the body is longer than announced"))),
        Err(fault) => Ok(Err(fault)),
    }
}

/// The next bytes of a body that isn't over yet.
async fn next_of(download: &mut Download) -> Result<bytes::Bytes, Fault> {
    download.next().await?.ok_or_else(|| Fault::new(Hop::Cdn, FaultKind::Truncated, "the body ended early"))
}

/// Tells the client of a fault when the head is out: by a reset, so that nothing looks whole.
fn fail(answer: Outgoing, fault: Fault) -> Ended {
    answer.reset(&fault);
    Ended::Failed(fault)
}

fn is_blob(operation: &Operation) -> bool {
    matches!(operation, Operation::Blob { method: Method::Get, .. })
}

/// A reply's frame.
fn head(reply: &Reply) -> Result<bytes::Bytes, Fault> {
    frame::encode(reply)
        .map(bytes::Bytes::from)
        .map_err(|error| Fault::new(Hop::Registry, FaultKind::BadAnswer, error))
}
