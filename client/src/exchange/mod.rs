//! One request on one stream, and the answer that comes back.

mod behind;
mod body;
mod broken;
mod pieces;
mod segments;

pub(crate) use behind::Behind;
pub(crate) use body::{Salvaged, TunnelBody};
pub(crate) use broken::Broken;

use crate::tunnel::Line;
use behind::Rest;
use docxy_protocol::control::StreamHeader;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::headers::Headers;
use docxy_protocol::reply::{BodyFraming, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request};
use http::StatusCode;
use pieces::Pieces;
use quinn::{RecvStream, SendStream};
use segments::Segments;
use tokio::sync::OwnedSemaphorePermit;

/// A registry's answer as it comes out of the tunnel.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its header fields.
    pub(crate) headers: Headers,
    /// Its body, still on the way.
    pub(crate) body: TunnelBody,
    /// What comes behind it, where the request wished for something.
    pub(crate) behind: Option<Behind>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// Some hop failed, and the server said which.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The connection ended, or is about to. Asking on the next one is safe: every operation
    /// only reads.
    #[error("the line was lost")]
    LineLost,
    /// The server broke the stream, and that came before anything else: a reset throws away what
    /// it overtakes, the answer's head included. An engine would have resumed a body that breaks
    /// off, and goes elsewhere on an error, so this is worth another try.
    #[error("broken off before its head was read: {0}")]
    Overtaken(#[source] Fault),
}

/// Asks, and waits for the answer's head. `place` is the line's for this request, and `expected`
/// the length of the answer's body where the request makes that clear.
pub(crate) async fn run(
    line: &Line,
    place: Option<OwnedSemaphorePermit>,
    request: &Request,
    expected: Option<u64>,
) -> Result<Answer, ExchangeError> {
    let opening = frame::encode(&StreamHeader::Request(Box::new(request.clone()))).map_err(unsendable)?;
    let (send, mut receive) = line.connection().open_bi().await.map_err(|_| ExchangeError::LineLost)?;
    write_opening(send, &opening).await?;
    // Offered along with the request, so that a large body flows as soon as it is there.
    let segments = match request.operation {
        Operation::Blob { method: Method::Get, .. } => {
            let mut segments = Segments::new(line.clone(), receive.id().into());
            segments.open_ahead(expected).await?;
            Some(segments)
        }
        _ => None,
    };
    match frame::read(&mut receive).await {
        Ok(Reply::Response(Response { status, headers, body })) => {
            let wished = request.prefetch.is_some();
            let (body, behind) = match (body, segments) {
                (BodyFraming::None, _) if wished => {
                    let rest = Rest { pieces: Pieces::new(receive), _place: place };
                    (TunnelBody::empty(None), Some(Behind::head(rest)))
                }
                (BodyFraming::None, _) => (TunnelBody::empty(place), None),
                (BodyFraming::Chunked { length }, _) if wished => {
                    let (body, behind) = TunnelBody::before_items(receive, length, place);
                    (body, Some(behind))
                }
                (BodyFraming::Chunked { length }, _) => (TunnelBody::on_stream(receive, length, place), None),
                (BodyFraming::Segmented(layout), Some(segments)) => {
                    (TunnelBody::in_segments(segments, layout, receive, place), None)
                }
                (BodyFraming::Segmented(_), None) => {
                    return Err(nonsense("segments of what is no blob").into());
                }
            };
            Ok(Answer { status, headers, body, behind })
        }
        // The server is about to end; the next one, or the same a moment later, will answer.
        Ok(Reply::Fault(fault)) if fault.hop == Hop::Server && fault.kind == FaultKind::Down => {
            Err(ExchangeError::LineLost)
        }
        Ok(Reply::Fault(fault)) => Err(fault.into()),
        Err(error) => Err(no_head(line, &mut receive, error).await),
    }
}

/// Sends a stream's opening frame; nothing of ours follows it.
async fn write_opening(mut send: SendStream, frame: &[u8]) -> Result<(), ExchangeError> {
    send.write_all(frame).await.map_err(|_| ExchangeError::LineLost)?;
    send.finish().map_err(|_| ExchangeError::LineLost)
}

/// Tells a lost connection, which another one mends, from a stream that the server broke.
async fn no_head(line: &Line, receive: &mut RecvStream, error: FrameError) -> ExchangeError {
    if line.connection().close_reason().is_some() {
        return ExchangeError::LineLost;
    }
    match error {
        // The reading half broke; whether by a reset is what the stream still knows.
        FrameError::Broken(_) => match receive.received_reset().await {
            Ok(Some(code)) => ExchangeError::Overtaken(Fault::from_reset_code(code.into_inner())),
            _ => ExchangeError::LineLost,
        },
        error => nonsense(error).into(),
    }
}

fn nonsense(detail: impl std::fmt::Display) -> Fault {
    Fault::new(
        Hop::Server,
        FaultKind::MalformedResponse,
        format!("{detail}; are client and server of one version?"),
    )
}

fn unsendable(error: FrameError) -> Fault {
    Fault::new(Hop::Engine, FaultKind::RequestInvalid, format!("the request's {error}"))
}
