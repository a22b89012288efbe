//! One exchange: a request and its response, on one stream and, for a large body, on the segment streams
//! that the client opened for it.
//!
//! The upstream body is read once, in order, and only as fast as the client reads. Must never collect a
//! body, or let one that failed look whole.

mod body;
mod layers;
mod log;
mod prefetch;
mod pulls;
pub(crate) mod streams;

pub(crate) use log::{ExchangeLog, LoggedExchange};

use crate::admission::budget::BudgetShare;
use crate::admission::{ClientAdmission, Permit};
use crate::counters::{Counters, Outcomes};
use crate::exchange::streams::{
    ChunkWriter, ExchangeSegments, FairQueue, PrefetchWriter, ResponseStream, Undelivered,
};
use crate::upstream::{Response, ResponseBody, Upstream, UpstreamError};
use body::{BodyError, send_segments, send_whole, write_in_time};
use bytes::Bytes;
use docxy_protocol::congestion::Handle;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::reply::{self, Reply};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::segment::SegmentLayout;
use layers::LayerStreams;
use prefetch::Prefetch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How an exchange ended, for the log.
enum ExchangeOutcome<'a> {
    /// The whole response was sent. The prefetch may follow.
    Sent { status: u16, bytes: u64, prefetch: Option<Box<PendingPrefetch<'a>>> },
    /// The client received a fault.
    Failed(UpstreamError),
    /// The client has cancelled the exchange, or its connection is closed.
    Cancelled,
}

/// The prefetch that follows a response.
struct PendingPrefetch<'a> {
    prefetch: Prefetch<'a>,
    writer: PrefetchWriter,
    permit: Permit,
    layers: LayerStreams<'a>,
}

/// What the exchanges of a client, or of one of its connections, share.
#[derive(Clone, Copy)]
pub(crate) struct Resources<'a> {
    pub(crate) admission: &'a Arc<ClientAdmission>,
    pub(crate) queue: &'a FairQueue,
    pub(crate) budget: &'a Arc<BudgetShare>,
    pub(crate) congestion: &'a Handle,
    /// Counts the bytes of bodies that were written.
    pub(crate) sent: &'a AtomicU64,
    /// Whether no engine waits for the content.
    pub(crate) is_in_background: bool,
}

/// Where a body goes.
struct Outgoing<'a> {
    segments: ExchangeSegments,
    resources: Resources<'a>,
    undelivered: &'a Undelivered,
}

/// Responds to a request. Returns when everything was delivered, or the exchange has failed or was cancelled.
pub(crate) async fn run(
    request: &Request,
    mut log: LoggedExchange<'_>,
    stream: ResponseStream,
    segments: ExchangeSegments,
    resources: Resources<'_>,
    upstream: &Upstream,
    counters: &Counters,
) {
    let started = Instant::now();
    // Dropping it withdraws what was written and did not leave yet.
    let undelivered = Undelivered::default();
    let stopped = stream.stopped();
    let cancelled = async {
        tokio::select! {
            () = stopped => {}
            () = undelivered.watch() => {}
        }
    };
    tokio::pin!(cancelled);
    let outgoing = Outgoing { segments, resources, undelivered: &undelivered };
    let outcome = tokio::select! {
        outcome = respond(request, stream, outgoing, upstream, counters) => outcome,
        // Dropping the future closes the connection to the registry or CDN.
        () = &mut cancelled => ExchangeOutcome::Cancelled,
    };
    let ms = started.elapsed().as_millis();
    let count = |add: fn(&mut Outcomes)| counters.exchange_ended(request.operation.name(), add);
    let prefetch = match outcome {
        ExchangeOutcome::Sent { status, bytes, prefetch } => {
            count(|outcomes| outcomes.answered += 1);
            let label = [("operation", request.operation.name())];
            counters.exchange.get_or_create(&label).observe(started.elapsed().as_secs_f64());
            log.responded(status);
            tracing::debug!(status, bytes, ms, "answered");
            prefetch
        }
        ExchangeOutcome::Failed(error) => {
            count(|outcomes| outcomes.failed += 1);
            counters.failed(&error.fault);
            log.failed(&error, ms);
            None
        }
        ExchangeOutcome::Cancelled => {
            count(|outcomes| outcomes.cancelled += 1);
            return tracing::debug!(ms, "cancelled");
        }
    };
    if let Some(prefetch) = prefetch {
        log.brings_content();
        let sent = tokio::select! {
            // Boxed, since only a manifest has one.
            sent = Box::pin(prefetch.send(&undelivered)) => sent,
            () = &mut cancelled => Err(BodyError::Cancelled),
        };
        let ms = started.elapsed().as_millis();
        match sent {
            Ok((items, bytes, layers)) => {
                resources.sent.fetch_add(bytes as u64, Ordering::Relaxed);
                tracing::debug!(items, bytes, layers, ms, "prefetch sent");
            }
            Err(_) => return tracing::debug!(ms, "prefetch cancelled"),
        }
    }
    // No permit is held any more: this waits for the client's line alone.
    if !undelivered.delivered().await {
        tracing::debug!(ms = started.elapsed().as_millis(), "withdrawn before it was delivered");
    }
}

impl PendingPrefetch<'_> {
    /// Sends the prefetch. Returns the number of items, their bytes, and those of layers.
    async fn send(self, undelivered: &Undelivered) -> Result<(usize, usize, u64), BodyError> {
        let Self { prefetch, mut writer, permit, layers } = self;
        let image = write_in_time(&permit, prefetch.send_manifests(&mut writer)).await?;
        let layers = async {
            match &image {
                Some(image) if prefetch.is_public() => layers.send(&image.layers, &prefetch).await,
                _ => 0,
            }
        };
        let items = async {
            if let Some(image) = &image {
                write_in_time(&permit, prefetch.send_blobs(image, &mut writer)).await?;
            }
            drop(permit);
            // Requests for metadata wait until it ends, and must not wait for layers.
            writer.finish(undelivered).map_err(|_| BodyError::Cancelled)
        };
        // The layers begin first: the client should know of them before the engine knows of the config.
        let (layers, items) = tokio::join!(layers, items);
        items.map(|(items, bytes)| (items, bytes, layers))
    }
}

async fn respond<'a>(
    request: &'a Request,
    stream: ResponseStream,
    outgoing: Outgoing<'a>,
    upstream: &'a Upstream,
    counters: &Counters,
) -> ExchangeOutcome<'a> {
    let started = Instant::now();
    let permit = match outgoing.resources.admission.acquire().await {
        Ok(permit) => permit,
        Err(fault) => return send_fault(stream, fault.into()).await,
    };
    // Boxed, since it would be most of the task, also while the exchange waits and while it sends the body.
    let response = Box::pin(upstream.send(request)).await;
    match response {
        Ok(response) => {
            let label = [("operation", request.operation.name())];
            counters.first_byte.get_or_create(&label).observe(started.elapsed().as_secs_f64());
            let prefetch = Prefetch::new(request, &response, upstream);
            send_response(request, response, prefetch, stream, outgoing, permit).await
        }
        Err(error) => send_fault(stream, error).await,
    }
}

/// Sends a fault in place of a response.
async fn send_fault(mut stream: ResponseStream, error: UpstreamError) -> ExchangeOutcome<'static> {
    // A fault's text is bounded, so its frame is too.
    let Ok(head) = encode_head(&Reply::Fault(error.fault.clone())) else { return ExchangeOutcome::Cancelled };
    let sent = stream.send(head).await.and_then(|()| stream.finish());
    sent.map_or(ExchangeOutcome::Cancelled, |()| ExchangeOutcome::Failed(error))
}

async fn send_response<'a>(
    request: &Request,
    mut response: Response,
    prefetch: Option<Prefetch<'a>>,
    stream: ResponseStream,
    mut outgoing: Outgoing<'a>,
    permit: Permit,
) -> ExchangeOutcome<'a> {
    let layout = segment_layout(request, &response.body);
    let framing = match (&response.body, layout) {
        (ResponseBody::None, _) => reply::BodyFraming::None,
        (ResponseBody::Small(bytes), _) => reply::BodyFraming::Chunked { length: Some(bytes.len() as u64) },
        (ResponseBody::Stream(_), Some(layout)) => reply::BodyFraming::Segmented(layout),
        (ResponseBody::Stream(download), None) => reply::BodyFraming::Chunked { length: download.length() },
    };
    let status = response.status.as_u16();
    let headers = std::mem::take(&mut response.headers);
    let head = reply::Response { status: response.status, headers, body: framing };
    let head = match encode_head(&Reply::Response(head)) {
        Ok(head) => head,
        Err(error) => return send_fault(stream, error).await,
    };
    let Ok(mut writer) = write_in_time(&permit, ChunkWriter::start(stream, head)).await else {
        return ExchangeOutcome::Cancelled;
    };
    let body = match (&mut response.body, layout) {
        (ResponseBody::None, _) => Ok(0),
        (ResponseBody::Small(bytes), _) => {
            let length = bytes.len() as u64;
            let written = write_in_time(&permit, writer.write(bytes.clone())).await;
            outgoing.resources.sent.fetch_add(length, Ordering::Relaxed);
            written.map(|()| length)
        }
        (ResponseBody::Stream(download), None) => send_whole(download, &mut writer, &outgoing, &permit).await,
        (ResponseBody::Stream(download), Some(layout)) => {
            send_segments(download, layout, &mut outgoing, &permit).await
        }
    };
    let outcome = match body {
        Ok(bytes) => write_in_time(&permit, writer.end()).await.and_then(|writer| {
            let prefetch = match prefetch {
                Some(prefetch) => {
                    let Outgoing { segments, resources, .. } = outgoing;
                    let layers = LayerStreams { segments, count: prefetch.layer_segments(), resources };
                    Some(Box::new(PendingPrefetch { prefetch, writer, permit, layers }))
                }
                None => {
                    writer.finish(outgoing.undelivered).map_err(|_| BodyError::Cancelled)?;
                    None
                }
            };
            Ok(ExchangeOutcome::Sent { status, bytes, prefetch })
        }),
        Err(BodyError::Upstream(error)) => {
            let reported = write_in_time(&permit, writer.abort(&error.fault, outgoing.undelivered)).await;
            reported.map(|()| ExchangeOutcome::Failed(error))
        }
        Err(BodyError::Reclaimed) => {
            let fault = Fault::new(
                Hop::Server,
                FaultKind::Overloaded,
                "the client read nothing of this body for too long, and other requests wait",
            );
            // The client reads nothing, so it would not receive a fault that is sent in order.
            writer.reset(&fault);
            Ok(ExchangeOutcome::Failed(fault.into()))
        }
        Err(BodyError::Cancelled) => Ok(ExchangeOutcome::Cancelled),
    };
    outcome.unwrap_or(ExchangeOutcome::Cancelled)
}

/// The segments of a body; `None` if it is sent on the response's own stream.
fn segment_layout(request: &Request, body: &ResponseBody) -> Option<SegmentLayout> {
    let is_blob = matches!(request.operation, Operation::Blob { method: Method::Get, .. });
    match body {
        ResponseBody::Stream(download) if is_blob => {
            SegmentLayout::new(download.length()?, SEGMENT_BYTES).ok().filter(|layout| layout.count() > 1)
        }
        _ => None,
    }
}

/// A reply's frame.
fn encode_head(reply: &Reply) -> Result<Bytes, UpstreamError> {
    let too_long = |error| UpstreamError::new(Hop::Registry, FaultKind::MalformedResponse, error);
    frame::encode(reply).map(Bytes::from).map_err(too_long)
}
