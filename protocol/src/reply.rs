//! The server's answer to a request: the head, and how the body follows it.

use crate::fault::Fault;
use crate::headers::Headers;
use crate::segment::SegmentLayout;
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// What the first frame on an answering stream says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The registry answered, perhaps with an error of its own.
    Response(Response),
    /// Nothing of the registry's can be shown; the client tells the engine why.
    Fault(Fault),
}

/// A registry's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Its status, 200 to 599.
    #[serde(with = "status")]
    pub status: StatusCode,
    /// Its header fields that go to the engine.
    pub headers: Headers,
    /// Where its body is.
    pub body: BodyFraming,
}

/// How the body of a response travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyFraming {
    /// There is none, whatever `Content-Length` says (`HEAD`, 204, 304).
    None,
    /// It follows on the answering stream, in [pieces](crate::chunk). A known length must be met
    /// exactly.
    Chunked {
        /// In bytes. Unknown is not zero.
        length: Option<u64>,
    },
    /// Every segment has a stream of its own. On the answering stream follows the [end of the
    /// body](crate::chunk::ChunkHeader::End) when all of it has been sent, or what it broke off with: the
    /// segment in which it broke ends early then.
    Segmented(SegmentLayout),
}

/// Status codes as plain numbers on the wire, checked on the way in.
mod status {
    use http::StatusCode;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
        status.as_u16().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
        let number = u16::deserialize(deserializer)?;
        // Interim answers never cross the tunnel: one would be taken for the answer itself.
        if !(200..600).contains(&number) {
            return Err(D::Error::custom(format!("{number} is no final status")));
        }
        StatusCode::from_u16(number).map_err(D::Error::custom)
    }
}
