//! The server's reply to a request: a response's head or a fault. It must say how the body follows.

use crate::fault::Fault;
use crate::headers::Headers;
use crate::segment::SegmentLayout;
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The first frame from the server on a request's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The registry responded, perhaps with an error.
    Response(Response),
    /// There is no response; the client reports the fault to the engine.
    Fault(Fault),
}

/// The head of a registry's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The status, 200 to 599.
    #[serde(with = "status")]
    pub status: StatusCode,
    /// The header fields for the engine.
    pub headers: Headers,
    /// How the body follows.
    pub body: BodyFraming,
}

/// How the body of a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyFraming {
    /// There is no body, even if `Content-Length` is not 0 (`HEAD`, 204, 304).
    None,
    /// The body follows on the same stream, in [chunks](crate::chunk). If its length is known, it must have
    /// exactly that many bytes.
    Chunked {
        /// Bytes of the body; `None` if unknown.
        length: Option<u64>,
    },
    /// Each segment has its own stream. On the request's stream,
    /// [`ChunkHeader::End`](crate::chunk::ChunkHeader::End) follows when all segments have been sent, or
    /// [`ChunkHeader::Aborted`](crate::chunk::ChunkHeader::Aborted); the segment that was being sent then
    /// ends early.
    Segmented(SegmentLayout),
}

/// Status codes are plain numbers on the wire, and are checked when decoded.
mod status {
    use http::StatusCode;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
        status.as_u16().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
        let number = u16::deserialize(deserializer)?;
        // Interim responses never cross the tunnel: they would be mistaken for the final one.
        if !(200..600).contains(&number) {
            return Err(D::Error::custom(format!("{number} is not a final status")));
        }
        StatusCode::from_u16(number).map_err(D::Error::custom)
    }
}
