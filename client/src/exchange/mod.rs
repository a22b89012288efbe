//! Sends one request on one stream, and receives its response.
//!
//! Must never try again: its callers do. Must never send a credential to a server that is not trusted.

mod chunk_reader;
mod error;
mod layer_streams;
mod prefetch_stream;
mod remote_body;
mod segments;
#[cfg(test)]
mod tests;

pub(crate) use error::ExchangeError;
pub(crate) use layer_streams::LayerStream;
pub(crate) use prefetch_stream::PrefetchStream;
pub(crate) use remote_body::RemoteBody;

use crate::tunnel::{RangeHabits, Session};
use chunk_reader::ChunkReader;
use docxy_protocol::control::{RequestHeader, StreamHeader};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::reply::{self, BodyFraming, Reply};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_transport::ReadError;
use http::StatusCode;
use segments::Segments;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Maximum number of bytes in one read. Reads gather up to this much: hashing and writing each packet alone would
/// cost more than the copy.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The response of a registry as it comes through the tunnel.
#[derive(Debug)]
pub(crate) struct Response {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its header fields.
    pub(crate) headers: Headers,
    /// Its body, which is received while it is read.
    pub(crate) body: RemoteBody,
    /// Receives the prefetched content when the body is complete, if the request had a prefetch hint.
    pub(crate) prefetch: Option<oneshot::Receiver<PrefetchStream>>,
    /// The streams that were opened for layers.
    pub(crate) layers: Vec<LayerStream>,
}

/// Sends the request and waits for the response head. `permit` is the permit of the session for this request,
/// and `expected` the length of the body if the request implies that.
pub(crate) async fn send(
    session: &Session,
    permit: Option<OwnedSemaphorePermit>,
    request: &Request,
    expected: Option<u64>,
) -> Result<Response, ExchangeError> {
    if request.has_credential() && !session.is_trusted() {
        // Only a bug can cause this: no such session is selected.
        let detail = "a credential must not go to a server that is not trusted";
        return Err(Fault::new(Hop::Tunnel, FaultKind::Internal, detail).into());
    }
    let exchange = session.next_exchange();
    let mut header = RequestHeader { exchange, request: request.clone() };
    let permits = LayerStream::reserve(session, &mut header.request);
    let mut stream = session.transport().open_finished(&StreamHeader::Request(Box::new(header))).await?;
    // Opened together with the request, so that a large body flows without another round trip.
    let segments = match request.operation {
        Operation::Blob { method: Method::Get, .. } => {
            let engine = RangeHabits::engine(&request.headers);
            Some(Segments::open(session.clone(), exchange, expected, engine).await?)
        }
        _ => None,
    };
    let layers = LayerStream::open(session, exchange, permits).await?;
    let reply::Response { status, headers, body } = match stream.read_frame().await {
        Ok(Reply::Response(response)) => response,
        Ok(Reply::Fault(fault)) => return Err(fault.into()),
        Err(error) => return Err(missing_head(session, error)),
    };
    let stream = ChunkReader::new(stream);
    let wants_prefetch = request.prefetch.is_some();
    let mut body = match (body, segments) {
        (BodyFraming::None, _) => RemoteBody::new(Some(0), wants_prefetch.then_some(stream), None, permit),
        (BodyFraming::Chunked { length }, _) => RemoteBody::new(length, Some(stream), None, permit),
        (BodyFraming::Segmented(layout), Some(mut segments)) => {
            segments.set_layout(layout);
            RemoteBody::new(Some(layout.length()), Some(stream), Some(segments), permit)
        }
        (BodyFraming::Segmented(_), None) => {
            return Err(ExchangeError::protocol("a segmented body for a request that is not a blob"));
        }
    };
    let prefetch = wants_prefetch.then(|| body.prefetch());
    Ok(Response { status, headers, body, prefetch, layers })
}

/// Distinguishes a lost session, which a new one replaces, from a stream that the server reset.
fn missing_head(session: &Session, error: ReadError) -> ExchangeError {
    match session.transport().close_reason() {
        Some(reason) => ExchangeError::lost(reason),
        None => error.into(),
    }
}
