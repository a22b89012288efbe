//! Sends the header frame that opens a stream.

use super::error::ExchangeError;
use quinn::SendStream;

/// Sends the header frame of a stream, and ends the sending half.
pub(super) async fn send(mut send: SendStream, frame: &[u8]) -> Result<(), ExchangeError> {
    send.write_all(frame).await.map_err(|_| ExchangeError::ConnectionLost)?;
    send.finish().map_err(|_| ExchangeError::ConnectionLost)
}
