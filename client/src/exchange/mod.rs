//! Sends one request on one stream, and receives its response.

mod body;
mod body_error;
mod buffered_range;
mod chunk_reader;
mod error;
mod prefetch_stream;
mod segments;
#[cfg(test)]
mod tests;

pub(crate) use body::TunnelBody;
pub(crate) use body_error::BodyError;
pub(crate) use buffered_range::BufferedRange;
pub(crate) use error::ExchangeError;
pub(crate) use prefetch_stream::PrefetchStream;

use crate::tunnel::Session;
use chunk_reader::ChunkReader;
use docxy_protocol::control::{RequestHeader, StreamHeader};
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use docxy_protocol::reply::{self, BodyFraming, Reply};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_transport::ReadError;
use error::{protocol_error, unencodable};
use http::StatusCode;
use prefetch_stream::StreamTail;
use segments::Segments;
use tokio::sync::OwnedSemaphorePermit;

/// The response of a registry as it comes through the tunnel.
#[derive(Debug)]
pub(crate) struct Response {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its header fields.
    pub(crate) headers: Headers,
    /// Its body, which is received while it is read.
    pub(crate) body: TunnelBody,
    /// The prefetched content after the body, if the request had a prefetch hint.
    pub(crate) prefetch: Option<PrefetchStream>,
}

/// Sends the request and waits for the response head. `permit` is the permit of the session for this request,
/// and `expected` the length of the body if the request implies that.
pub(crate) async fn send(
    session: &Session,
    permit: Option<OwnedSemaphorePermit>,
    request: &Request,
    expected: Option<u64>,
) -> Result<Response, ExchangeError> {
    let exchange = session.next_exchange();
    let header = RequestHeader { exchange, request: request.clone() };
    let header = frame::encode(&StreamHeader::Request(Box::new(header))).map_err(unencodable)?;
    let mut receive = session.transport().ask(header).await?;
    // Opened together with the request, so that a large body flows without another round trip.
    let segments = match request.operation {
        Operation::Blob { method: Method::Get, .. } => {
            let mut segments = Segments::new(session.clone(), exchange);
            segments.open_initial(expected).await?;
            Some(segments)
        }
        _ => None,
    };
    match receive.read_frame().await {
        Ok(Reply::Response(reply::Response { status, headers, body })) => {
            let wants_prefetch = request.prefetch.is_some();
            let (body, prefetch) = match (body, segments) {
                (BodyFraming::None, _) if wants_prefetch => {
                    let tail = StreamTail { reader: ChunkReader::new(receive), _permit: permit };
                    (TunnelBody::empty(None), Some(PrefetchStream::after_head(tail)))
                }
                (BodyFraming::None, _) => (TunnelBody::empty(permit), None),
                (BodyFraming::Chunked { length }, _) if wants_prefetch => {
                    let (body, prefetch) = TunnelBody::before_prefetch(receive, length, permit);
                    (body, Some(prefetch))
                }
                (BodyFraming::Chunked { length }, _) => {
                    (TunnelBody::on_stream(receive, length, permit), None)
                }
                (BodyFraming::Segmented(layout), Some(segments)) => {
                    (TunnelBody::in_segments(segments, layout, receive, permit), None)
                }
                (BodyFraming::Segmented(_), None) => {
                    return Err(protocol_error("a segmented body for a request that is not a blob").into());
                }
            };
            Ok(Response { status, headers, body, prefetch })
        }
        // The server is shutting down. Another server responds, or the same a moment later.
        Ok(Reply::Fault(fault)) if fault.hop == Hop::Server && fault.kind == FaultKind::Down => {
            Err(ExchangeError::ConnectionLost(fault.into()))
        }
        Ok(Reply::Fault(fault)) => Err(fault.into()),
        Err(error) => Err(missing_head(session, error)),
    }
}

/// Distinguishes a lost connection, which a new one replaces, from a stream that the server reset.
fn missing_head(session: &Session, error: ReadError) -> ExchangeError {
    match (session.transport().close_reason(), error) {
        (Some(reason), _) | (None, ReadError::Lost(reason)) => ExchangeError::ConnectionLost(reason.into()),
        (None, ReadError::Reset(fault)) => ExchangeError::ResetBeforeHead(fault),
        (None, error @ (ReadError::Ended | ReadError::Frame(_))) => protocol_error(error).into(),
    }
}
