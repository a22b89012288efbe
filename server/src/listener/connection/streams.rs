//! The streams of one connection: each exchange in a task of its own.
//!
//! Must never let one stream block another.

use super::ListenerContext;
use crate::admission::ClientAdmission;
use crate::admission::budget::BudgetShare;
use crate::exchange::streams::{ExchangeSegments, FairQueue, ResponseStream, SegmentStreams};
use crate::exchange::{self, Resources};
use bytes::Bytes;
use docxy_host::logging::spans;
use docxy_protocol::congestion::Handle;
use docxy_protocol::control::{ExchangeId, RequestHeader, StreamHeader};
use docxy_protocol::limits::{ECHO_BYTES_MAX, ECHO_TIMEOUT, STREAM_HEADER_TIMEOUT};
use docxy_protocol::link::ClientName;
use docxy_protocol::request::Request;
use docxy_protocol::text::clean;
use docxy_transport::{ReadError, ReceiveStream, SendStream};
use futures_util::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tokio::time::error::Elapsed;
use tracing::Instrument as _;

/// The state that all streams of a connection share.
pub(super) struct ConnectionContext {
    pub(super) name: ClientName,
    pub(super) segments: SegmentStreams,
    pub(super) queue: FairQueue,
    pub(super) budget: Arc<BudgetShare>,
    pub(super) congestion: Handle,
    pub(super) admission: Arc<ClientAdmission>,
    pub(super) shared: Arc<ListenerContext>,
}

/// Why there is no stream header.
#[derive(Debug, thiserror::Error)]
enum HeaderError {
    #[error("it did not arrive in time: {0}")]
    TimedOut(#[from] Elapsed),
    #[error(transparent)]
    Invalid(#[from] ReadError),
}

/// Handles a new stream. A segment's header arrives with its stream, so most segment streams cost no task.
pub(super) fn handle_stream(client: &Arc<ConnectionContext>, send: SendStream, mut receive: ReceiveStream) {
    let stream = ResponseStream::new(send, client.shared.streams.add());
    let mut header = Box::pin(async move {
        let header = tokio::time::timeout(STREAM_HEADER_TIMEOUT, receive.read_frame()).await??;
        Ok((header, receive))
    });
    match (&mut header).now_or_never() {
        Some(header) => handle_header(client, header, stream),
        None => {
            let client = Arc::clone(client);
            let work = async move { handle_header(&client, header.await, stream) };
            tokio::spawn(work.in_current_span());
        }
    }
}

/// Handles a stream whose header was read.
fn handle_header(
    client: &Arc<ConnectionContext>,
    header: Result<(StreamHeader, ReceiveStream), HeaderError>,
    stream: ResponseStream,
) {
    // Dropping the stream resets it.
    match header {
        Ok((StreamHeader::Request(header), _)) => {
            let RequestHeader { exchange: id, request } = *header;
            let Some(segments) = client.segments.register(id) else {
                return tracing::debug!(%id, "this exchange is running already");
            };
            let client = Arc::clone(client);
            let work = async move { run_exchange(&client, id, request, stream, segments).await };
            tokio::spawn(work.in_current_span());
        }
        Ok((StreamHeader::Segment(segment), _)) => client.segments.add(segment, stream, Instant::now()),
        Ok((StreamHeader::Echo, receive)) => drop(tokio::spawn(async move {
            // A client that sends too slowly, or too much, is told by the reset of the stream.
            let _ = tokio::time::timeout(ECHO_TIMEOUT, echo(receive, stream)).await;
        })),
        Err(error) => tracing::debug!(error = %clean(error), "no valid stream header"),
    }
}

/// Sends as many bytes back as arrive. `None` if they are too many, or the stream was lost.
async fn echo(mut receive: ReceiveStream, mut stream: ResponseStream) -> Option<()> {
    const ZEROS: &[u8] = &[0; ECHO_BYTES_MAX];
    let mut length = 0;
    while let Some(chunk) = receive.read_chunk(ECHO_BYTES_MAX).await.ok()? {
        length += chunk.len();
        if length > ZEROS.len() {
            return None;
        }
    }
    stream.send(Bytes::from_static(&ZEROS[..length])).await.ok()?;
    stream.finish().ok()
}

async fn run_exchange(
    client: &ConnectionContext,
    id: ExchangeId,
    request: Request,
    stream: ResponseStream,
    segments: ExchangeSegments,
) {
    let request = request.without_foreign_credentials();
    let repository = request.operation.repository().filter(|_| client.shared.log.names_images());
    // Of the highest level, so that it is exported, and warnings have its trace id, whatever the log admits.
    let span = tracing::error_span!(
        "exchange",
        %id,
        registry = %request.registry,
        operation = request.operation.name(),
        repository = repository.map(tracing::field::display),
        trace_id = request.trace.is_some().then(|| tracing::field::display(request.trace)),
    );
    spans::join(&span, request.trace);
    async {
        let ConnectionContext { name, admission, queue, budget, congestion, shared, .. } = client;
        let (sent, is_in_background) = (AtomicU64::new(0), request.is_in_background());
        let resources = Resources { admission, queue, budget, congestion, sent: &sent, is_in_background };
        let request = request.without_priority();
        let log = shared.log.exchange(name, &request, &sent);
        // Read once: an exchange keeps the settings that it started with.
        let settings = shared.settings.current();
        let (upstream, counters) = (&settings.upstream, &shared.counters);
        exchange::run(&request, log, stream, segments, resources, upstream, counters).await;
    }
    .instrument(span)
    .await;
}
