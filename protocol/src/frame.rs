//! Frames: a length of four bytes, big-endian, and that many bytes of bincode.
//!
//! The only module that knows bincode, so that another encoding would be a change of one file.
//! Never allocates by a length that it hasn't checked, nor much before the bytes are there.

use crate::limits::FRAME_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes made ready for a frame that has been announced. Few heads have more.
const INITIAL_CAPACITY: usize = 4096;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced, or we were about to send, more than [`FRAME_MAX`].
    #[error("a head of {0} bytes, at most {FRAME_MAX} are allowed")]
    TooLong(usize),
    /// The stream ended within the frame.
    #[error("the stream ended before its head was whole")]
    Ended,
    /// The stream broke.
    #[error("reading a head: {0}")]
    Broken(#[source] std::io::Error),
    /// The bytes are no value of the type expected.
    #[error("a head that cannot be decoded: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// The value cannot be encoded.
    #[error("a head that cannot be encoded: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// There are bytes behind the value.
    #[error("{0} bytes behind the head's end")]
    Trailing(usize),
}

/// A value as one frame.
///
/// # Errors
/// Where the value takes more than [`FRAME_MAX`] bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let payload = bincode::serde::encode_to_vec(value, config())?;
    if payload.len() > FRAME_MAX {
        return Err(FrameError::TooLong(payload.len()));
    }
    // FRAME_MAX fits into 32 bits.
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// The value of one frame's payload.
///
/// # Errors
/// Where the bytes are not exactly one value.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    let (value, used) = bincode::serde::decode_from_slice(payload, config())?;
    if used == payload.len() { Ok(value) } else { Err(FrameError::Trailing(payload.len() - used)) }
}

/// The value of the frame at the beginning of these bytes, and where that ends.
///
/// # Errors
/// Where they don't begin with a whole frame, or it is not exactly one value.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), FrameError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(FrameError::Ended)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_MAX {
        return Err(FrameError::TooLong(length));
    }
    let payload = rest.get(..length).ok_or(FrameError::Ended)?;
    Ok((decode(payload)?, bytes.len() - rest.len() + length))
}

/// Reads one frame and not a byte more. A dropped future loses what it has read.
///
/// # Errors
/// Where the stream ends or breaks early, or what it brings is no such frame.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(FrameError::TooLong(length));
    }
    // Grows with what comes: a peer that announces the most and sends nothing costs next to nothing.
    let mut payload = Vec::with_capacity(length.min(INITIAL_CAPACITY));
    stream.take(length as u64).read_to_end(&mut payload).await.map_err(broken)?;
    if payload.len() < length {
        return Err(FrameError::Ended);
    }
    decode(&payload)
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_MAX>()
}

fn broken(error: std::io::Error) -> FrameError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::Ended,
        _ => FrameError::Broken(error),
    }
}
