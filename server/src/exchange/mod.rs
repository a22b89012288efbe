//! One request and its answer, on one stream and, for a large body, on the segment streams that
//! the client opened for it.
//!
//! Nothing is collected: the upstream body is read once, in order, and only as fast as the client
//! takes it. An answer whose body broke says so at its end; none looks whole that isn't.

mod ahead;
mod outgoing;
mod pieces;
mod segments;

pub(crate) use ahead::Ahead;
pub(crate) use outgoing::{Outgoing, SendError};
pub(crate) use segments::{ExchangeSegments, Ranks, SegmentStreams};

use crate::places::{ClientPlaces, Place};
use crate::prefetch::Prefetch;
use crate::upstream::{Answer, AnswerBody, Download, Upstream};
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT_SIZE;
use docxy_protocol::reply::{BodyFraming, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::segment::SegmentLayout;
use pieces::Pieces;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// How an exchange ended, for the log.
enum Ended<'a> {
    /// Everything was sent.
    Sent { status: u16, bytes: u64, follow: Option<Follow<'a>> },
    /// The client was told of a fault.
    Failed(Fault),
    /// The client wanted no more, or is gone.
    Cancelled,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
enum Broken {
    /// It broke behind the server; the client is told in order.
    Upstream(Fault),
    /// The client took nothing of it for long, and others wait.
    Unread,
    /// The client wants no more.
    Unwanted,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Upstream(fault)
    }
}

/// Answers a request. Runs until the answer is sent, has failed or isn't wanted any more.
pub(crate) async fn run(
    request: Request,
    answer: Outgoing,
    segments: ExchangeSegments,
    places: &Arc<ClientPlaces>,
    ranks: &Ranks,
    upstream: &Upstream,
) {
    let started = Instant::now();
    let stopped = answer.stopped();
    tokio::pin!(stopped);
    let ended = tokio::select! {
        ended = respond(&request, answer, segments, places, ranks, upstream) => ended,
        // Dropping the work closes the connection to the registry or CDN.
        () = &mut stopped => Ended::Cancelled,
    };
    let ms = started.elapsed().as_millis();
    let follow = match ended {
        Ended::Sent { status, bytes, follow } => {
            tracing::info!(status, bytes, ms, "answered");
            follow
        }
        Ended::Failed(fault) => {
            tracing::warn!(%fault, ms, "failed");
            None
        }
        Ended::Cancelled => {
            tracing::info!(ms, "cancelled");
            None
        }
    };
    if let Some(Follow { prefetch, ahead, place }) = follow {
        let sent = tokio::select! {
            sent = send_ahead(prefetch, ahead, &place) => sent,
            () = &mut stopped => Err(Broken::Unwanted),
        };
        let ms = started.elapsed().as_millis();
        match sent {
            Ok((items, bytes)) => tracing::debug!(items, bytes, ms, "sent ahead"),
            Err(_) => tracing::debug!(ms, "nobody wants what comes ahead"),
        }
    }
}

/// What goes on once an answer is out.
struct Follow<'a> {
    prefetch: Prefetch<'a>,
    ahead: Ahead,
    place: Place,
}

async fn send_ahead(
    prefetch: Prefetch<'_>,
    mut ahead: Ahead,
    place: &Place,
) -> Result<(usize, usize), Broken> {
    read_in_time(place, prefetch.send(&mut ahead)).await?;
    ahead.finish().map_err(|_| Broken::Unwanted)
}

/// Answers a request that came after the server was told to end.
pub(crate) async fn refuse_draining(answer: Outgoing) {
    let fault = Fault::new(Hop::Server, FaultKind::Down, CloseCode::Draining.reason());
    if let Ended::Failed(fault) = refuse(answer, fault).await {
        tracing::info!(%fault, "refused");
    }
}

async fn respond<'a>(
    request: &'a Request,
    answer: Outgoing,
    segments: ExchangeSegments,
    places: &Arc<ClientPlaces>,
    ranks: &Ranks,
    upstream: &'a Upstream,
) -> Ended<'a> {
    let place = match places.take().await {
        Ok(place) => place,
        Err(fault) => return refuse(answer, fault).await,
    };
    match upstream.ask(request).await {
        Ok(upstream_answer) => {
            let prefetch = Prefetch::of(request, &upstream_answer, upstream);
            send(request, upstream_answer, prefetch, answer, segments, place, ranks).await
        }
        Err(fault) => refuse(answer, fault).await,
    }
}

/// Tells the client of a fault while no head is out yet.
async fn refuse(mut answer: Outgoing, fault: Fault) -> Ended<'static> {
    // A fault's text is bounded, so its frame is.
    let Ok(head) = head(&Reply::Fault(fault.clone())) else { return Ended::Cancelled };
    let told = answer.write(head).await.and_then(|()| answer.finish());
    told.map_or(Ended::Cancelled, |()| Ended::Failed(fault))
}

async fn send<'a>(
    request: &Request,
    mut upstream: Answer,
    prefetch: Option<Prefetch<'a>>,
    answer: Outgoing,
    segments: ExchangeSegments,
    place: Place,
    ranks: &Ranks,
) -> Ended<'a> {
    let layout = match &upstream.body {
        AnswerBody::Stream(download) if is_blob(&request.operation) => download
            .length()
            .and_then(|length| SegmentLayout::new(length, SEGMENT_SIZE).ok())
            .filter(|l| l.count() > 1),
        _ => None,
    };
    let shape = match (&upstream.body, layout) {
        (AnswerBody::None, _) => BodyFraming::None,
        (AnswerBody::Small(bytes), _) => BodyFraming::Chunked { length: Some(bytes.len() as u64) },
        (AnswerBody::Stream(_), Some(layout)) => BodyFraming::Segmented(layout),
        (AnswerBody::Stream(download), None) => BodyFraming::Chunked { length: download.length() },
    };
    let status = upstream.status.as_u16();
    let headers = std::mem::take(&mut upstream.headers);
    let response = Response { status: upstream.status, headers, body: shape };
    let head = match head(&Reply::Response(response)) {
        Ok(head) => head,
        Err(fault) => return refuse(answer, fault).await,
    };
    let Ok(mut pieces) = read_in_time(&place, Pieces::begin(answer, head)).await else {
        return Ended::Cancelled;
    };
    let body = match (&mut upstream.body, layout) {
        (AnswerBody::None, _) => Ok(0),
        (AnswerBody::Small(bytes), _) => {
            let length = bytes.len() as u64;
            read_in_time(&place, pieces.write(bytes.clone())).await.map(|()| length)
        }
        (AnswerBody::Stream(download), None) => pour(download, &mut pieces, &place).await,
        (AnswerBody::Stream(download), Some(layout)) => fill(download, layout, segments, &place, ranks).await,
    };
    let told = match body {
        Ok(bytes) => read_in_time(&place, pieces.end()).await.and_then(|ahead| {
            let follow = match prefetch {
                Some(prefetch) => Some(Follow { prefetch, ahead, place }),
                None => {
                    ahead.finish().map_err(|_| Broken::Unwanted)?;
                    None
                }
            };
            Ok(Ended::Sent { status, bytes, follow })
        }),
        Err(Broken::Upstream(fault)) => {
            let told = read_in_time(&place, pieces.break_off(&fault)).await;
            told.map(|()| Ended::Failed(fault))
        }
        Err(Broken::Unread) => {
            let fault = Fault::new(
                Hop::Server,
                FaultKind::Overloaded,
                "nobody read this body for long, and others wait for its place",
            );
            // It could not be told in order: nothing is read.
            pieces.reset(&fault);
            Ok(Ended::Failed(fault))
        }
        Err(Broken::Unwanted) => Ok(Ended::Cancelled),
    };
    told.unwrap_or(Ended::Cancelled)
}

/// A body that travels on the answering stream.
async fn pour(download: &mut Download, pieces: &mut Pieces, place: &Place) -> Result<u64, Broken> {
    let mut sent = 0;
    while let Some(chunk) = download.next().await? {
        sent += chunk.len() as u64;
        read_in_time(place, pieces.write(chunk)).await?;
    }
    Ok(sent)
}

/// A body that travels in segments: fills the streams that the client opened, one after the other.
async fn fill(
    download: &mut Download,
    layout: SegmentLayout,
    mut segments: ExchangeSegments,
    place: &Place,
    ranks: &Ranks,
) -> Result<u64, Broken> {
    let mut spare = bytes::Bytes::new();
    for n in 0..layout.count() {
        // Waiting here is what holds the CDN back while the client has opened nothing.
        let mut segment = read_in_time(place, async { Ok(segments.take(n).await) }).await?;
        segment.set_rank(ranks.next());
        let range = layout.range(n);
        let mut left = range.end - range.start;
        while left > 0 {
            if spare.is_empty() {
                spare = match next_of(download).await {
                    Ok(chunk) => chunk,
                    Err(fault) => {
                        // Short, so that what it has is read, and then the answering stream.
                        let _ = segment.finish();
                        return Err(fault.into());
                    }
                };
            }
            let part = spare.split_to(spare.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= part.len() as u64;
            read_in_time(place, segment.write(part)).await?;
        }
        segment.finish().map_err(|_| Broken::Unwanted)?;
    }
    // The end of the body must be seen before the answer may say that it was whole.
    match download.next().await? {
        None if spare.is_empty() => Ok(layout.length()),
        _ => {
            Err(Fault::new(Hop::Cdn, FaultKind::MalformedResponse, "the body is longer than announced")
                .into())
        }
    }
}

/// The next bytes of a body that isn't over yet.
async fn next_of(download: &mut Download) -> Result<bytes::Bytes, Fault> {
    download.next().await?.ok_or_else(|| Fault::new(Hop::Cdn, FaultKind::Truncated, "the body ended early"))
}

/// Does what waits for the client to read, for as long as nobody else needs the place more.
async fn read_in_time<T>(
    place: &Place,
    work: impl Future<Output = Result<T, SendError>>,
) -> Result<T, Broken> {
    tokio::select! {
        // In this order, or each chunk would set a timer.
        biased;
        done = work => done.map_err(|_| Broken::Unwanted),
        () = place.forfeited() => Err(Broken::Unread),
    }
}

fn is_blob(operation: &Operation) -> bool {
    matches!(operation, Operation::Blob { method: Method::Get, .. })
}

/// A reply's frame.
fn head(reply: &Reply) -> Result<bytes::Bytes, Fault> {
    frame::encode(reply)
        .map(bytes::Bytes::from)
        .map_err(|error| Fault::new(Hop::Registry, FaultKind::MalformedResponse, error))
}
