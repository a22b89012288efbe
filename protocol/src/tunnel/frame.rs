//! Frames: a length of four bytes, big-endian, and that many bytes of bincode.
//!
//! The only module that names bincode, so that another encoding would change one file. Must never allocate
//! by an unchecked length, nor much more than has arrived.

use crate::limits::FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes allocated before a payload arrives. Few frames have more.
const INITIAL_CAPACITY: usize = 4096;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame to read or to write is longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The stream ended within the frame.
    #[error("the stream ended within a frame")]
    Ended,
    /// Reading the stream failed.
    #[error("reading a frame: {0}")]
    Broken(#[source] std::io::Error),
    /// The payload is not a value of the expected type.
    #[error("cannot decode a frame: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// The value cannot be encoded.
    #[error("cannot encode a frame: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// Bytes follow the value within the frame.
    #[error("{0} bytes follow the value in a frame")]
    Trailing(usize),
}

/// Encodes a value as one frame.
///
/// # Errors
/// If the value has more than [`FRAME_BYTES_MAX`] bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let payload = bincode::serde::encode_to_vec(value, config())?;
    if payload.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(payload.len()));
    }
    // FRAME_BYTES_MAX fits into 32 bits.
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Decodes the payload of one frame.
///
/// # Errors
/// If the payload is not exactly one value.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    let (value, used) = bincode::serde::decode_from_slice(payload, config())?;
    if used == payload.len() { Ok(value) } else { Err(FrameError::Trailing(payload.len() - used)) }
}

/// Decodes the frame at the beginning of `bytes`. Returns its value and the index of the first byte after
/// it.
///
/// # Errors
/// If `bytes` do not begin with a whole frame, or the frame is not exactly one value.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), FrameError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(FrameError::Ended)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    let payload = rest.get(..length).ok_or(FrameError::Ended)?;
    Ok((decode(payload)?, bytes.len() - rest.len() + length))
}

/// Reads exactly one frame. Not cancel safe: a dropped future loses the bytes that it has read.
///
/// # Errors
/// If the stream ends or fails early, or the bytes are not such a frame.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    decode(&read_payload(stream).await?)
}

/// Reads one frame that begins with such a value, whatever follows in it. Not cancel safe.
///
/// # Errors
/// If the stream ends or fails early, or the frame does not begin so.
pub async fn read_beginning<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, FrameError> {
    Ok(bincode::serde::decode_from_slice(&read_payload(stream).await?, config())?.0)
}

async fn read_payload(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    // Grows with the bytes that arrive: a peer that announces a long frame and sends nothing costs little.
    let mut payload = Vec::with_capacity(length.min(INITIAL_CAPACITY));
    stream.take(length as u64).read_to_end(&mut payload).await.map_err(broken)?;
    if payload.len() < length {
        return Err(FrameError::Ended);
    }
    Ok(payload)
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>()
}

fn broken(error: std::io::Error) -> FrameError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::Ended,
        _ => FrameError::Broken(error),
    }
}
