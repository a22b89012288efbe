//! Opens a stream with the header frame that says what it is for.

use super::error::ExchangeError;
use crate::tunnel::Session;
use docxy_protocol::control::StreamHeader;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use quinn::RecvStream;

/// Opens a stream, sends its header frame, and ends the sending half.
pub(super) async fn open(session: &Session, header: &StreamHeader) -> Result<RecvStream, ExchangeError> {
    let frame = frame::encode(header).map_err(|error| {
        Fault::new(Hop::Engine, FaultKind::RequestInvalid, format!("the request's {error}"))
    })?;
    let (mut send, receive) = session.connection().open_bi().await.map_err(ExchangeError::lost)?;
    send.write_all(&frame).await?;
    send.finish().map_err(ExchangeError::lost)?;
    Ok(receive)
}
